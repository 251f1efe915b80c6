"""The table of a comparison, and what a trial hands over for it."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import textures

REPOSITORY = pathlib.Path(__file__).parent.parent.parent


def trial(name, seed, probe, previous=None):
    cluster = {} if previous is None else {"nmi_previous": previous}
    return {
        "name": name,
        "seed": seed,
        "figures": {
            **dict.fromkeys(("probe_conv5", "knn_conv5", "knn_fc7"), 0.5),
            "probe_fc7": probe,
            "nmi": 0.125,
        },
        "curve": [{"images": 1000, "figures": {"probe_fc7": probe}}],
        # The last epoch was trained on the clusters of the one before.
        "epochs": [{"cluster": cluster}, {"cluster": {}}] if previous is not None else [],
    }


def test_table_and_plots(tmp_path):
    pytest.importorskip("matplotlib", reason="pip install -r requirements-benchmarks.txt")
    from benchmarks.learning.report import write_report

    trials = [trial("b", "1", 0.30, 0.5), trial("a", "1", 0.2), trial("b", "2", 0.34, 0.7)]
    write_report(trials, ["a", "b", "not run"], tmp_path)
    lines = (tmp_path / "table.md").read_text().splitlines()
    # Standard deviation of (30, 34) with one degree of freedom: 4 / sqrt(2).
    assert lines[2] == "| a | 50.0 | 20.0 | 50.0 | 50.0 | 0.125 | - |"
    assert lines[3] == (
        "| b | 50.0 ± 0.0 | 32.0 ± 2.8 | 50.0 ± 0.0 | 50.0 ± 0.0 | 0.125 ± 0.000 | 0.600 ± 0.141 |"
    )
    assert len(lines) == 6
    for name in ("features.png", "stability.png", "curves.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_indicators_are_ranked_against_probes():
    pytest.importorskip("matplotlib", reason="pip install -r requirements-benchmarks.txt")
    from benchmarks.learning.report import indicator_table

    probes, previous = [0.3, 0.2, 0.5, 0.4], [0.6, 0.5, 0.9, 0.7]
    trials = [
        trial("a", str(i), *pair) for i, pair in enumerate(zip(probes, previous, strict=True))
    ]
    lines = indicator_table([*trials, trial("untrained", "1", 0.9)]).splitlines()
    (found,) = [line for line in lines if line.startswith("| nmi_previous")]
    # The probes of conv5 are all alike, so nothing ranks them.
    assert found == "| nmi_previous | - | - | 1.00 | - | 4 |"
    assert "| churn | - | - | - | - | 0 |" in lines


def test_agreement_of_seeds_is_ranked_for_trained_trials_alone():
    pytest.importorskip("matplotlib", reason="pip install -r requirements-benchmarks.txt")
    from benchmarks.learning.report import indicator_table

    trials = [trial("a", str(i), probe, 0.5) for i, probe in enumerate((0.2, 0.3, 0.4))]
    trials.append(trial("untrained", "1", 0.1))
    for one, agreement in zip(trials, (0.9, 0.8, 0.7, 0.6), strict=True):
        one["figures"]["seeds_agree"] = agreement
    (found,) = [line for line in indicator_table(trials).splitlines() if "seeds_agree" in line]
    assert found == "| seeds_agree | - | - | -1.00 | - | 3 |"


@pytest.mark.slow
def test_a_trial_trains_and_measures(tmp_path):
    paths = []
    for name, seed in (("train", 0), ("test", 1)):
        images, labels = textures.textures(16, seed=seed)
        paths.append(tmp_path / f"{name}.npz")
        np.savez(paths[-1], images=images, labels=labels)
    flags = "--image_size=32 --width=0.0625 --num_clusters=6 --pca_dim=16 --batch_size=16".split()
    flags += ["--epochs=2", f"--data_dir={paths[0]}", f"--run_dir={tmp_path / 'run'}"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.learning.trial", str(paths[1]), "2", *flags],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert [record["epoch"] for record in result["epochs"]] == [1, 2]
    assert [point["images"] for point in result["curve"]] == [64, 128]
    # 64 images an epoch and a third of that for features, once more at the end.
    assert [point["compute"] for point in result["curve"]] == [107, 192]
    assert result["compute"] == 192
    assert result["curve"][-1]["figures"] == result["figures"]
    assert all(0 <= result["figures"][name] <= 1 for name in ("probe_best", "knn_pool1", "nmi"))
    # Two starts of k-means find much the same clusters, but not the very same.
    assert 0.3 < result["figures"]["seeds_agree"] <= 1
