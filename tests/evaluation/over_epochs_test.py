import numpy as np
import pytest

from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.image_source import numbered
from dc_keras.data.sources.manifest import write_manifest
from dc_keras.evaluation.over_epochs import agreement_figure, agreement_of_run
from dc_keras.runs.run_directory import RunDirectory


def saved(folder, labels, *clusterings):
    """A run with these clusterings."""
    run = RunDirectory(folder)
    images = np.zeros((4, 2, 2, 3), np.uint8)
    classes = None if labels is None else ("cat", "dog")
    write_manifest(ArraySource(images, numbered("image", 4), labels, classes), run.manifest)
    for epoch, assignments in enumerate(clusterings, start=1):
        run.save_assignments(epoch, np.array(assignments))
    return run


def test_agreement_of_saved_clusterings(tmp_path, warnings_told):
    """Independent of the classes at first, equal to them in the end; one file is damaged."""
    run = saved(tmp_path, np.array([0, 0, 1, 1]), [0, 1, 0, 1], [0, 0, 0, 0], [7, 7, 2, 2])
    (run.assignments / "epoch-0002.npy").write_bytes(b"\x93NUMPY")
    first, last = agreement_of_run(run)
    assert first == pytest.approx((1, 2, 0, -0.5, 0.5))
    assert last == pytest.approx((3, 2, 1, 1, 1))
    assert warnings_told("epoch-0002.npy")
    (panel,) = agreement_figure([first, last]).axes
    assert [line.get_label() for line in panel.lines] == ["NMI", "ARI", "purity"]
    assert panel.lines[1].get_ydata().tolist() == [-0.5, 1] and panel.get_ylim()[0] == -0.5


def test_without_classes_there_is_nothing_to_agree_with(tmp_path):
    assert agreement_of_run(saved(tmp_path, None, [0, 1, 0, 1])) == []
