"""TensorBoard's files forget epochs that are done again."""

import pytest

from dc_keras.runs.event_files import forget_events_after
from events import told_losses, write_losses


def test_a_file_of_earlier_epochs_stays_as_it_is(tmp_path):
    path = write_losses(tmp_path, [1, 2])
    before = path.read_bytes(), path.stat().st_mtime_ns
    forget_events_after(path, 2)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


@pytest.mark.parametrize("cut", [0, 3])
def test_later_epochs_and_a_cut_end_are_taken_out(tmp_path, cut):
    path = write_losses(tmp_path, [2, 3, 4])
    path.write_bytes(path.read_bytes()[: -cut or None])
    forget_events_after(path, 3)
    assert told_losses(tmp_path) == [(2, 1.0), (3, 1.5)]


def test_a_file_of_later_epochs_alone_is_removed(tmp_path):
    path = write_losses(tmp_path, [4, 5])
    forget_events_after(path, 3)
    assert not path.exists()
