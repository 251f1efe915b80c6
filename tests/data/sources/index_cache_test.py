"""Arrays that are kept from one start of a program to the next."""

import numpy as np
import pytest

from dc_keras.data.sources.index_cache import kept_arrays


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dc_keras"


@pytest.fixture
def made():
    """How often arrays were made; calling it makes them."""

    def make():
        make.times += 1
        return {"a": np.arange(3), "b": np.array([[1.5]])}

    make.times = 0
    return make


def test_arrays_are_made_once_for_each_origin(home, made):
    for origin, times in [("x", 1), ("x", 1), ("y", 2), ("x", 2)]:
        arrays = kept_arrays("numbers", origin, made)
        np.testing.assert_array_equal(arrays["a"], [0, 1, 2])
        np.testing.assert_array_equal(arrays["b"], [[1.5]])
        assert made.times == times
    assert sorted(path.name[:8] for path in home.iterdir()) == ["numbers-"] * 2


@pytest.mark.parametrize("content", [b"", b"PK\3\4 no archive", b"\x93NUMPY"])
def test_a_damaged_file_is_made_anew(home, made, content):
    kept_arrays("numbers", "x", made)
    (path,) = home.iterdir()
    path.write_bytes(content)
    for _ in range(2):
        assert kept_arrays("numbers", "x", made)["a"].tolist() == [0, 1, 2]
    assert made.times == 2


def test_where_nothing_can_be_written_they_are_made_each_time(tmp_path, made, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        assert kept_arrays("numbers", "x", made)["a"].tolist() == [0, 1, 2]
    assert made.times == 2
