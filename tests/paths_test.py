"""Paths on this machine's disks and on those that TensorFlow alone can read."""

import pytest

from dc_keras.paths import absolute, is_absolute, is_remote


@pytest.mark.parametrize(
    ("path", "remote", "without_folder"),
    [
        ("gs://bucket/run", True, "gs://bucket/run"),
        ("file:///data/run", True, "file:///data/run"),
        ("/data/run", False, "/data/run"),
        ("/data/./other/../run/", False, "/data/run"),
        # A drive of another system, or a time: no file system.
        ("12:30", False, None),
        ("images", False, None),
    ],
)
def test_a_path_holds_from_any_folder(tmp_path, monkeypatch, path, remote, without_folder):
    monkeypatch.chdir(tmp_path)
    assert is_remote(path) == remote
    found = absolute(path)
    assert found == (without_folder or f"{tmp_path}/{path}")
    assert is_absolute(found)
    assert is_absolute(path) == (without_folder is not None)
