"""What the terminal shows of a run, character by character."""

import io

import pytest

from dc_keras.training import epoch_table
from dc_keras.training.epoch_table import EpochTable, clusters_in_cells, time_left
from turns import turn_of

HEADING = "epoch   loss smallest largest views rank features   pca kmeans   train     left"


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(epoch_table, "time", clock)
    return clock


def epochs_of(table, clock, turns, seconds):
    """Runs epochs of two steps that take so long."""
    table.set_params({"steps": 2})
    for turn, each in zip(turns, seconds, strict=True):
        table.begin_turn(turn)
        table.on_train_batch_end(0)
        table.on_train_batch_end(1)
        clock.now += each
        table.on_epoch_end(turn.epoch, {"loss": 1.25})
    table.on_train_end()


def turn(epoch, **changes):
    figures = {"smallest": 3, "largest": 1600, "views_retrieved": 0.256, "effective_rank": 7.77}
    stages = {"features": 12.34, "pca": 0.5, "kmeans": 1.0}
    return turn_of([0, 1, 2], epoch=epoch, figures=figures, seconds=stages, **changes)


def test_rows_stand_below_their_headings(clock, capsys):
    turns = [turn(0), turn(1, clustered=False), turn(2)]
    epochs_of(EpochTable(4, "kmeans"), clock, turns, [20, 10, 10])
    out, err = capsys.readouterr()
    assert err == "", "a bar where there is no terminal"
    assert out.splitlines() == [
        HEADING,
        "  1/4  1.250        3   1,600   26%  7.8    12.3s  0.5s   1.0s   20.0s  0:01:55",
        "  2/4  1.250                                                     10.0s  0:00:34",
        "  3/4  1.250        3   1,600   26%  7.8    12.3s  0.5s   1.0s   10.0s  0:00:31",
    ]


def test_an_epoch_taken_up_has_no_times_of_a_clustering(clock, capsys):
    epochs_of(EpochTable(1, "kmeans"), clock, [turn(0, taken_up=True)], [5])
    assert capsys.readouterr().out.splitlines()[1].split() == [
        "1/1", "1.250", "3", "1,600", "26%", "7.8", "5.0s", "0:00:00",
    ]  # fmt: skip


def test_the_heading_is_repeated(clock, capsys):
    turns = [turn(epoch) for epoch in range(41)]
    epochs_of(EpochTable(41, "kmeans"), clock, turns, [1] * 41)
    lines = capsys.readouterr().out.splitlines()
    assert [at for at, line in enumerate(lines) if "loss" in line] == [0, 21, 42]


def test_a_bar_counts_steps_on_a_terminal_and_is_gone_with_the_row(clock, capsys, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(epoch_table.sys, "stderr", Terminal())
    epochs_of(EpochTable(1, "pic"), clock, [turn(0)], [1])
    shown = epoch_table.sys.stderr.getvalue()
    assert "epoch 1/1:" in shown and "0/2" in shown
    assert shown.endswith("\r"), "the bar is left behind"


def test_time_left_by_hand():
    assert time_left([30], [10], epochs_left=2) == 70
    assert time_left([30, 10, 20], [10, 5], epochs_left=2) == 35
    assert time_left([30], [], epochs_left=0) == 0


def test_cells_of_what_is_not_known_are_empty():
    assert clusters_in_cells({}) == {}
