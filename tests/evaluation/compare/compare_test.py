"""Runs that were evaluated, as the files that this leaves, in one table."""

import dataclasses
import json

import numpy as np
import pytest

from dc_keras.errors import InputError
from dc_keras.evaluation.compare import telling
from dc_keras.evaluation.compare.comparison import compare_runs, compare_settings
from dc_keras.evaluation.compare.judged import check_same_images, read_judged
from dc_keras.evaluation.compare.settings import Setting, fingerprint, group
from dc_keras.evaluation.measured import Measured
from dc_keras.evaluation.report import EvaluationReport
from dc_keras.evaluation.writing import write_report
from dc_keras.runs.given import Given, save_given
from dc_keras.runs.run_directory import RunDirectory
from tiny import tiny

IMAGES = 200


def evaluated(folder, right, *flags, seed=1, row="trained", **changes):
    """A run whose probe classifies so many of the first images correctly; its NMI is a tenth."""
    config = tiny("data", folder, f"--seed={seed}", *flags)
    folder.mkdir(parents=True)
    (folder / "flags.cfg").write_text(config.to_flagfile())
    correct = np.arange(IMAGES) < right
    report = EvaluationReport(
        **{
            "run_dir": str(folder),
            "data_dir": "data",
            "train_images": 800,
            "test_images": IMAGES,
            "classes": 2,
            "num_clusters": 6,
            "seed": seed,
            "split": "",
            "class_names": ("cat", "dog"),
            "test_names": tuple(f"{i}.png" for i in range(IMAGES)),
            "test_labels": np.arange(IMAGES) % 2,
        }
        | changes
    )
    figures = {"probe_fc7": right / IMAGES, "nmi": right / IMAGES / 10}
    report.add("random", Measured({"probe_fc7": 0.1}, {"probe_fc7": correct & False}))
    report.add(row, Measured(figures, {"probe_fc7": correct, "clusters": np.arange(IMAGES)}))
    write_report(report, folder / "evaluation")
    return folder


def test_single_runs_are_compared_image_by_image(tmp_path):
    """Nine images that the second alone has right: p is 2 / 2^9."""
    one, other = evaluated(tmp_path / "a", 100), evaluated(tmp_path / "b", 109, "--width=0.125")
    comparison = compare_runs([one, other])
    assert comparison.rows["a"] == pytest.approx(
        {"probe_fc7": 0.5, "probe_fc7_sd": (0.25 / 200) ** 0.5, "nmi": 0.05}
    )
    probe, nmi = comparison.compared
    assert probe.difference.mean == pytest.approx(0.045) and probe.p == pytest.approx(2 / 512)
    assert nmi.difference is None and "several seeds" in nmi.reason
    text = telling.to_terminal(comparison)
    assert "fc7 probe: b is better than a by 4.5 ± 1.5 points (p = .0039)." in text
    assert "no difference" in telling.sentence(
        dataclasses.replace(probe, p=0.4), "a"
    ) and "200 test images" in telling.sentence(dataclasses.replace(probe, p=0.4), "a")
    assert all(len(line) <= 80 for line in text.splitlines())


def test_seeds_of_one_setting_are_compared_over_seeds(tmp_path):
    runs = [evaluated(tmp_path / f"a{seed}", 100 + 2 * seed, seed=seed) for seed in (1, 2, 3)]
    # Differences of 2, 4 and 6 images.
    runs += [
        evaluated(tmp_path / f"b{seed}", 100 + 4 * seed, "--epochs=3", seed=seed)
        for seed in (3, 1, 2)
    ]
    comparison = compare_runs(runs)
    assert [(one.name, one.seeds) for one in comparison.settings] == [
        ("a1", [1, 2, 3]),
        ("b3", [3, 1, 2]),
    ]
    row = comparison.rows["a1"]
    assert row["probe_fc7"] == pytest.approx(0.52) and row["probe_fc7_spread"] == pytest.approx(
        0.01
    )
    assert row["probe_fc7_sd"] == pytest.approx(0.01 / 3**0.5)
    probe = next(one for one in comparison.compared if one.figure == "probe_fc7")
    assert probe.difference.mean == pytest.approx(0.02) and probe.difference.count == 3
    # 1 - t / sqrt(t^2 + 2) with t = 2 sqrt(3), twice: NMI is as much better.
    assert probe.p == pytest.approx(2 * (1 - (12 / 14) ** 0.5))


def test_seeds_without_a_pair_are_not_tested(tmp_path):
    runs = [evaluated(tmp_path / f"a{seed}", 100, seed=seed) for seed in (1, 2)]
    other = evaluated(tmp_path / "b", 150, "--epochs=3", seed=2)
    comparison = compare_runs([*runs, other])
    assert all(one.difference is None for one in comparison.compared)
    assert "two seeds that both have, and there is one" in telling.to_markdown(comparison)


def test_what_is_no_flag_makes_other_settings(tmp_path):
    """Given features, and two runs of one seed, whose weights may be imported."""
    config = tiny("data", "run")
    assert fingerprint(config, Given("a", False, "")) != fingerprint(config, Given("b", False, ""))
    a = read_judged(RunDirectory(evaluated(tmp_path / "x" / "run", 100)))
    b = read_judged(RunDirectory(evaluated(tmp_path / "y" / "run", 100)))
    names = [one.name for one in group([a, b], ["same", "same"])]
    assert names == [str(tmp_path / "x" / "run"), str(tmp_path / "y" / "run")]


def test_given_features_are_a_run_like_any_other(tmp_path):
    given = evaluated(tmp_path / "dino", 150, row="given")
    save_given(RunDirectory(given), Given("dino.npy", False, "features"))
    comparison = compare_runs([evaluated(tmp_path / "a", 100), given])
    assert comparison.rows["dino"]["probe_fc7"] == 0.75


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test_names": tuple(f"{i + 50}.png" for i in range(IMAGES))}, "images.*150 in common"),
        ({"test_labels": np.zeros(IMAGES, int)}, "--test_dir"),
        ({"class_names": ("cat", "cow")}, "other classes"),
    ],
)
def test_other_test_images_are_refused(tmp_path, changes, words):
    a, b = evaluated(tmp_path / "a", 100), evaluated(tmp_path / "b", 100, **changes)
    with pytest.raises(InputError, match=words):
        compare_runs([a, b])


def test_other_differences_are_told(tmp_path):
    a = read_judged(RunDirectory(evaluated(tmp_path / "a", 100)))
    other = dataclasses.replace(a, run="b", num_clusters=9, versions="keras 4", images="else")
    told = " ".join(check_same_images([a, other]))
    assert "a: 6; b: 9" in told and "Libraries" in told and "pixels" in told
    compared = compare_settings([Setting("a", (a,)), Setting("b", (other,))]).compared
    assert [one.figure for one in compared] == ["probe_fc7"]


def test_runs_that_cannot_be_read_are_refused(tmp_path):
    a = evaluated(tmp_path / "a", 100)
    with pytest.raises(InputError, match="two or more"):
        compare_runs([a, a])
    b = evaluated(tmp_path / "b", 100)
    (b / "evaluation" / "outcomes.npz").write_bytes(b"PK no archive")
    with pytest.raises(InputError, match="cannot be read.*again"):
        compare_runs([a, b])
    (b / "evaluation" / "outcomes.npz").unlink()
    with pytest.raises(InputError, match="not evaluated by this version"):
        compare_runs([a, b])


def test_the_files_hold_what_was_found(tmp_path):
    runs = [evaluated(tmp_path / "a", 100), evaluated(tmp_path / "b", 109, "--width=0.125")]
    comparison = compare_runs(runs)
    markdown = telling.write(comparison, tmp_path / "out")
    assert "| a | 50.0% ±3.5% |" in markdown.read_text()
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert content["settings"][1]["figures"]["probe_fc7"] == pytest.approx(0.545)
    assert content["compared"][0]["p"] == pytest.approx(2 / 512)
    assert "<svg" in (tmp_path / "out" / "comparison.svg").read_text()
