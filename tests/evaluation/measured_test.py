"""What is kept of measurements, and when it is taken again."""

import numpy as np
import pytest

from dc_keras.evaluation.measured import Measured, MeasuredBefore, key_of

MEASURED = Measured({"knn": 0.25}, {"knn": np.array([True, False])}, {"classes": ["a", "ü"]})


def test_what_was_kept_is_found(tmp_path):
    before = MeasuredBefore(tmp_path / "measured")
    before.keep("random, calibrated", "knn", "key", MEASURED)
    found = before.find("random, calibrated", "knn", "key")
    assert found.figures == MEASURED.figures and found.details == MEASURED.details
    np.testing.assert_array_equal(found.of_images["knn"], [True, False])


def test_with_another_key_row_or_task_there_is_nothing(tmp_path):
    before = MeasuredBefore(tmp_path)
    before.keep("a/b", "knn", "key", MEASURED)
    for row, task, key in (("a/b", "knn", "k"), ("a_b", "knn", "key"), ("a/b", "linear", "key")):
        assert before.find(row, task, key) is None


@pytest.mark.parametrize("row", ["../up", "..", "", "a\udcff", "/a/run"])
def test_no_name_of_a_row_leads_out_of_the_folder(tmp_path, row):
    before = MeasuredBefore(tmp_path / "in" / "side")
    before.keep(row, "knn", "key", MEASURED)
    assert before.find(row, "knn", "key").figures == MEASURED.figures
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert len(list(tmp_path.rglob("knn.npz"))) == 1
    assert next(tmp_path.rglob("knn.npz")).parent.parent == tmp_path / "in" / "side"


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", b"text"])
def test_what_is_damaged_is_measured_again(tmp_path, damage):
    before = MeasuredBefore(tmp_path)
    before.keep("trained", "knn", "key", MEASURED)
    (tmp_path / "trained" / "knn.npz").write_bytes(damage)
    assert before.find("trained", "knn", "key") is None


def test_all_parts_of_a_key_count():
    array = np.arange(6)
    keys = {
        key_of(a=array, b="x"),
        key_of(a=array.reshape(2, 3), b="x"),
        key_of(a=array.astype(np.int32), b="x"),
        key_of(a=array, b="y"),
        key_of(a=array),
        key_of(a=array[::-1], b="x"),
    }
    assert len(keys) == 6
