"""Interleaved runs: contenders take turns, on what is worth comparing and is there."""

import argparse
import sys

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


@pytest.mark.parametrize(("known", "count"), [(True, 2), (False, 1), (None, 2)])
def test_bfloat16_is_left_out_where_it_is_imitated(monkeypatch, known, count):
    monkeypatch.setattr(interleaved, "computes_in_bfloat16", lambda: known)
    assert interleaved.precisions() == ("float32", "mixed_bfloat16")[:count]


def parse(monkeypatch, *given):
    monkeypatch.setattr(sys, "argv", ["benchmark", *given])
    return interleaved.arguments("A benchmark.", reads_images=True)


def test_data_sets_are_where_the_flag_or_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("DC_KERAS_DATA_SETS", str(tmp_path / "environment"))
    assert parse(monkeypatch).data_dir == tmp_path / "environment"
    assert parse(monkeypatch, f"--data_dir={tmp_path}").data_dir == tmp_path
    for empty in (monkeypatch.delenv, lambda name: monkeypatch.setenv(name, "")):
        empty("DC_KERAS_DATA_SETS")
        assert parse(monkeypatch).data_dir is None


def test_a_data_set_that_is_not_there_is_left_out(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    options = argparse.Namespace(data_dir=tmp_path)
    assert interleaved.data_set(options, "photos") == tmp_path / "photos"
    assert capsys.readouterr().out == ""
    assert interleaved.data_set(options, "cifar10/train") is None
    assert capsys.readouterr().out.startswith(f"Left out: {tmp_path / 'cifar10' / 'train'} is not")
    assert interleaved.data_set(argparse.Namespace(data_dir=None), "photos") is None
    assert capsys.readouterr().out.startswith("Left out: reads photos")


@pytest.mark.parametrize("given", [["--turns=0"], ["--quick", "--write"]])
def test_arguments_that_make_no_sense_are_refused(monkeypatch, capsys, given):
    with pytest.raises(SystemExit):
        parse(monkeypatch, *given)
    assert f"error: {given[0].partition('=')[0]}" in capsys.readouterr().err
