import csv
import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
from found import found_images, thumbnails

from dc_keras.errors import InputError
from dc_keras.exploring.cluster_table import (
    check_table_name,
    write_features,
    write_table,
)
from dc_keras.exploring.duplicate_list import write_duplicates
from dc_keras.exploring.duplicates import NearOptions, find_duplicates
from dc_keras.exploring.exploration import Exploration

NAMES = ["=1+1.png", "a\nb.png", os.fsdecode(b"no\xff.png"), *(f"{i}.png" for i in range(9))]


@pytest.fixture
def explored():
    """What is known of twelve images, the second and third of which are near copies."""
    n = len(NAMES)
    none = [b""] * n
    duplicates = find_duplicates(none, none, np.array([[1, 2]]))
    labels = np.arange(n, dtype=np.int32) % 2
    found = found_images(
        NAMES,
        2,
        cluster_names=("+cats", "dogs"),
        duplicate_groups=duplicates.groups,
        duplicate_kinds=duplicates.kinds,
        labels=labels,
        class_names=("even", "odd"),
    )
    descriptors = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    return Exploration(
        found=found,
        indices=np.arange(n),
        thumbnails=thumbnails(n),
        descriptors=descriptors,
        sizes=np.full((n, 2), 7, np.int32),
        duplicates=duplicates,
        near=NearOptions(),
        gone={},
        recall=1.0,
    )


def test_the_csv_file_has_a_row_for_each_image_and_no_formulas(explored, tmp_path):
    write_table(explored, tmp_path / "t.csv")
    with open(tmp_path / "t.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    found = explored.found
    assert [row["path"] for row in rows] == ["'=1+1.png", *NAMES[1:]]
    assert {row["name"] for row in rows} <= {"'+cats", "dogs"}
    assert [int(row["cluster"]) for row in rows] == found.clusters.tolist()
    assert [row["duplicate_kind"] for row in rows[:4]] == ["", "near", "near", ""]
    assert rows[0]["label"] == "even" and rows[0]["outlier"] in ("true", "false")
    near = [list(map(int, row["neighbors"].split())) for row in rows]
    np.testing.assert_array_equal(near, found.nearest)
    np.testing.assert_allclose([float(row["x"]) for row in rows], found.positions[:, 0], atol=1e-5)


def test_the_parquet_file_is_as_embedding_atlas_reads_it(explored, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    write_table(explored, tmp_path / "t.parquet")
    table = parquet.read_table(tmp_path / "t.parquet")
    assert table.schema.metadata[b"near_bits"] == b"8"
    first, _, third, *_ = table.to_pylist()
    assert first["path"] == "=1+1.png" and third["path"] == "no\\udcff.png"
    near = first["neighbors"]
    assert near["ids"] == explored.found.nearest[0].tolist()
    assert len(near["distances"]) == 10
    assert first["image"]["bytes"].startswith(b"\xff\xd8\xff")


def test_embedding_atlas_takes_the_file(explored, tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    # Its packages do not fit beside these, so that it may lie elsewhere.
    program = os.environ.get("EMBEDDING_ATLAS") or shutil.which("embedding-atlas")
    if not program:
        pytest.skip("embedding-atlas is not installed; EMBEDDING_ATLAS may name it")
    write_table(explored, tmp_path / "t.parquet")
    columns = "--x=x --y=y --neighbors=neighbors --image=image".split()
    done = subprocess.run(
        [program, "t.parquet", *columns, "--export-application=page"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert any(path.suffix == ".parquet" for path in pathlib.Path(tmp_path, "page").rglob("*"))


def test_features_are_in_the_rows_of_the_table(explored, tmp_path):
    write_features(explored, tmp_path / "f.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "f.npy"), explored.descriptors)


def test_other_endings_are_refused_and_so_is_parquet_without_its_library(monkeypatch):
    with pytest.raises(InputError, match=r"--out=t.xlsx. Expected.*\.csv or \.parquet"):
        check_table_name("t.xlsx")
    check_table_name("t.CSV")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(InputError, match="pip install pyarrow"):
        check_table_name("t.parquet")


def test_the_list_of_duplicates_tells_of_what_each_is_a_copy(explored, tmp_path):
    beside = write_duplicates(explored, tmp_path / "d.csv")
    with open(tmp_path / "d.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert [(row["group"], row["kind"], row["path"], row["copy_of"]) for row in rows] == [
        ("0", "near", NAMES[1], ""),
        ("0", "near", NAMES[2], NAMES[1]),
    ]
    assert float(rows[1]["distance"]) == pytest.approx(8**0.5, abs=1e-4)
    assert '"correlation": 0.98' in beside.read_text() and '"near": 2' in beside.read_text()
