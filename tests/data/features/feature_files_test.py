"""Files of features: what is read, and what is refused with which words."""

import pickle
import tracemalloc

import numpy as np
import pytest

from dc_keras.data.features.feature_files import GivenFeatures, read_features
from dc_keras.errors import InputError

VALUES = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
PATHS = ("a.png", "sub/b.png", "c.png", "d.png", "e.png")


def all_of(features: GivenFeatures) -> np.ndarray:
    return np.concatenate(list(features.blocks(np.arange(len(features)))))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint16", ">f4"])
def test_numbers_of_any_size_become_float32(tmp_path, dtype):
    values = (VALUES * 20).clip(0).astype(dtype)
    np.save(tmp_path / "f.npy", values)
    features = read_features(f"{tmp_path}/f.npy")
    assert features.paths is None and all_of(features).dtype == np.float32
    np.testing.assert_array_equal(all_of(features), values.astype(np.float32))


def test_rows_come_in_the_order_asked_for(tmp_path):
    np.save(tmp_path / "f.npy", np.asfortranarray(VALUES))
    rows = np.array([4, 0, 2])
    (block,) = read_features(f"{tmp_path}/f.npy").blocks(rows)
    np.testing.assert_array_equal(block, VALUES[rows])
    assert block.flags.c_contiguous


def test_many_rows_come_in_blocks():
    features = GivenFeatures(np.arange(9000, dtype=np.int32)[:, None], None, "")
    assert [len(block) for block in features.blocks(np.arange(9000))] == [4096, 4096, 808]


@pytest.mark.parametrize("name", ["features", "embeddings"])
@pytest.mark.parametrize("kind", ["U", "S"])
def test_an_npz_file_has_paths(tmp_path, name, kind):
    np.savez(tmp_path / "f.npz", **{name: VALUES, "paths": np.array(PATHS).astype(kind)})
    features = read_features(f"{tmp_path}/f.npz")
    np.testing.assert_array_equal(all_of(features), VALUES)
    assert features.paths == PATHS


@pytest.mark.parametrize("kind", ["list", "large", "fixed", "half", "integers"])
def test_a_parquet_file_has_a_list_for_each_path(tmp_path, kind):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    number = {"half": pyarrow.float16(), "integers": pyarrow.int32()}.get(kind, pyarrow.float32())
    lists = {"large": pyarrow.large_list(number), "fixed": pyarrow.list_(number, 3)}
    values = np.round(VALUES * 8).astype(number.to_pandas_dtype())
    column = pyarrow.array(list(values), lists.get(kind, pyarrow.list_(number)))
    table = pyarrow.table({"other": [1] * 5, "path": list(PATHS), "embedding": column})
    parquet.write_table(table, tmp_path / "f.parquet", row_group_size=2)
    features = read_features(f"{tmp_path}/f.parquet")
    np.testing.assert_array_equal(all_of(features), values.astype(np.float32))
    assert features.paths == PATHS


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"path": ["a"], "vector": [[1.0]]}, "no column embedding among path, vector"),
        ({"path": ["a", "b"], "embedding": [[1.0], [1.0, 2.0]]}, "row 1 has 2 numbers, others"),
        ({"path": ["a", "b"], "embedding": [[1.0], None]}, "row 1 has no embedding"),
        ({"path": ["a", None], "embedding": [[1.0], [2.0]]}, "row 1 has None as its path"),
        ({"path": ["a"], "embedding": [["x"]]}, "and not lists of numbers"),
        ({"path": ["a"], "embedding": [[1.0, None]]}, "not finite"),
    ],
)
def test_a_parquet_file_with_something_else_is_refused(tmp_path, columns, words):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), tmp_path / "f.parquet")
    with pytest.raises(InputError, match=words):
        read_features(f"{tmp_path}/f.parquet")


def test_rows_that_are_not_finite_are_counted_and_the_first_is_named(tmp_path):
    values = VALUES.astype(np.float64)
    values[1, 2], values[3, 0], values[4, 1] = np.nan, np.inf, 1e300
    np.savez(tmp_path / "f.npz", features=values, paths=np.array(PATHS))
    with pytest.raises(InputError, match=r"in 3 of 5 rows; the first is row 1 \(sub/b.png\)"):
        read_features(f"{tmp_path}/f.npz")


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(5, np.float32),
        np.zeros((5, 2, 3), np.float32),
        np.zeros((0, 3), np.float32),
        np.zeros((5, 3), complex),
        np.zeros((5, 3), bool),
        np.array([["a"]]),
        np.zeros(5, [("x", "f4")]),
    ],
    ids=str,
)
def test_arrays_of_something_else_are_refused(tmp_path, values):
    np.save(tmp_path / "f.npy", values)
    with pytest.raises(InputError, match="These are no features of images. Received: .*f.npy"):
        read_features(f"{tmp_path}/f.npy")


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "f.npy", np.array([[{}]], object), allow_pickle=True)
    with open(tmp_path / "g.npy", "wb") as file:
        pickle.dump(VALUES, file)
    np.savez(tmp_path / "h.npz", features=VALUES, paths=np.array(list(PATHS), object))
    for name in ("f.npy", "g.npy", "h.npz"):
        with pytest.raises(InputError, match="The features cannot be read"):
            read_features(f"{tmp_path}/{name}")


def test_damaged_files_are_refused(tmp_path):
    np.save(tmp_path / "whole.npy", np.zeros((500, 500), np.float32))
    content = (tmp_path / "whole.npy").read_bytes()
    np.savez(tmp_path / "whole.npz", features=VALUES)
    files = {
        "cut.npy": content[:5000],
        "empty.npy": b"",
        "text.npy": b"1,2,3\n",
        "huge.npy": content.replace(b"(500, 500)", b"(9**9, 99)"),
        "other.npy": (tmp_path / "whole.npz").read_bytes(),
        "cut.npz": (tmp_path / "whole.npz").read_bytes()[:-40],
        "text.npz": b"no zip",
        "text.parquet": b"PAR1 no table PAR1",
    }
    for name, data in files.items():
        if name.endswith("parquet"):
            pytest.importorskip("pyarrow")
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="The features cannot be read"):
            read_features(f"{tmp_path}/{name}")
    with pytest.raises(InputError, match="The features cannot be read"):
        read_features(f"{tmp_path}/missing.npy")
    with pytest.raises(InputError, match="The kind of the features is not known"):
        read_features(f"{tmp_path}/f.csv")


def test_paths_come_from_a_list(tmp_path):
    np.save(tmp_path / "f.npy", VALUES)
    (tmp_path / "list.txt").write_text("\n".join(PATHS))
    (tmp_path / "list.csv").write_text("index,path\n" + "".join(f"0,{path}\n" for path in PATHS))
    for name in ("list.txt", "list.csv"):
        features = read_features(f"{tmp_path}/f.npy", f"{tmp_path}/{name}")
        assert (features.paths, features.listed_in) == (PATHS, f"{tmp_path}/{name}")


def test_other_paths_than_rows_are_refused(tmp_path):
    np.savez(tmp_path / "f.npz", features=VALUES, paths=np.array(PATHS[:4]))
    with pytest.raises(InputError, match="4 paths in .* for 5 rows"):
        read_features(f"{tmp_path}/f.npz")
    (tmp_path / "list.txt").write_text("a.png\n")
    with pytest.raises(InputError, match="The file has paths of its own"):
        np.savez(tmp_path / "g.npz", features=VALUES, paths=np.array(PATHS))
        read_features(f"{tmp_path}/g.npz", f"{tmp_path}/list.txt")


def test_a_mapped_file_is_read_a_block_at_a_time(tmp_path):
    # 400 MB, of which the disk holds next to nothing.
    path = tmp_path / "large.npy"
    np.lib.format.open_memmap(path, "w+", np.float32, (100_000, 1000)).flush()
    tracemalloc.start()
    try:
        features = read_features(str(path))
        assert sum(len(block) for block in features.blocks(np.arange(100_000))) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
