"""Ratios of interleaved runs, and the rows that are kept of them."""

import argparse

import numpy as np
import pytest

from benchmarks import interleaved


def test_contenders_take_turns():
    calls = []

    def contender(name, items):
        def work():
            calls.append(name)
            return items

        return work

    found = interleaved.rates({"ours": contender("ours", 6), "other": contender("other", 2)}, 3)
    assert calls == ["ours", "other"] * 3
    assert {name: values.shape for name, values in found.items()} == {"ours": (3,), "other": (3,)}
    assert all((values > 0).all() for values in found.values())


def test_a_turn_lasts_so_long_at_least(monkeypatch):
    calls = []
    # A call takes 0.02 s: a clock of its own, since on a busy machine one may take any time.
    monkeypatch.setattr(interleaved.time, "perf_counter", lambda: 0.02 * len(calls))
    found = interleaved.rates({"ours": lambda: calls.append(0) or 2}, 1, seconds=0.05)
    assert len(calls) == 3
    # Two items a call, over 0.05 s and what the last one took beyond.
    assert found["ours"][0] == pytest.approx(6 / 0.06)


def test_the_ratio_is_that_of_medians_with_the_turns_extremes():
    ours, other = np.array([10.0, 40.0, 30.0]), np.array([5.0, 10.0, 20.0])
    assert interleaved.ratio(ours, other) == (3.0, 1.5, 4.0)


@pytest.mark.parametrize("shared", [True, False])
def test_rows_tell_what_was_reached_and_where(tmp_path, monkeypatch, capsys, shared):
    monkeypatch.setattr(interleaved, "RESULTS", tmp_path / "benchmarks.md")
    measured = {"ours": np.full(2, 300.0), "a": np.full(2, 100.0), "b": np.full(2, 100.0)}
    measured["c"] = np.full(2, 600.0)
    monkeypatch.setattr(interleaved, "_cpu", lambda: "a processor")
    monkeypatch.setattr(interleaved.os, "cpu_count", lambda: 2)
    # Rows that are written again replace their own kind alone.
    others = [
        "| a stage | z | kept | a processor, 2 cores; |",
        "| another stage | a | kept | a processor, 2 cores; |",
        "| a stage | b | kept | 2026-01-01, another processor, 2 cores; |",
    ]
    superseded = "| a stage | b | superseded | 2026-01-01, a processor, 2 cores, machine shared; |"
    (tmp_path / "benchmarks.md").write_text("\n".join([superseded, *others]))
    for write in (False, True):
        interleaved.report(
            argparse.Namespace(shared=shared, write=write),
            "a stage",
            measured,
            "images/s",
            goals={"a": 3, "b": 3.1},
            packages=["numpy"],
        )
    printed = capsys.readouterr().out.splitlines()
    assert printed[:3] == printed[3:]
    written = (tmp_path / "benchmarks.md").read_text().splitlines()
    assert written == [*others, *printed[:3]]
    assert "| a stage | a | 300 : 100 images/s | 3 (3 to 3) | 3: reached | - |" in printed[0]
    assert "| 3.1: missed |" in printed[1]
    assert "| c | 300 : 600 images/s | 0.5 (0.5 to 0.5) | - | - |" in printed[2]
    assert all(("machine shared" in row) == shared for row in printed)
    assert all(f"numpy {np.__version__}" in row for row in printed)


@pytest.mark.parametrize(("known", "count"), [(True, 2), (False, 1), (None, 2)])
def test_bfloat16_is_left_out_where_it_is_imitated(monkeypatch, known, count):
    monkeypatch.setattr(interleaved, "computes_in_bfloat16", lambda: known)
    assert interleaved.precisions() == ("float32", "mixed_bfloat16")[:count]
