"""The tables and plots of a comparison."""

import csv


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


def test_rows_for_the_documents(tmp_path):
    from benchmarks.learning.report import write_report
    from tools.write_tables import REPOSITORY, read_csv

    write_report(
        [trial("b", "1", 0.30), trial("a", "1", 0.2), trial("b", "2", 0.34)], "ab", tmp_path
    )
    with open(tmp_path / "learning.csv", encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert list(first) == read_csv(REPOSITORY / "docs" / "data" / "learning.csv")[0]
    assert (first["configuration"], first["seeds"]) == ("a", "1")
    assert (first["probe_fc7"], first["probe_fc7_spread"]) == ("20.0", "")
    assert (second["probe_fc7"], second["probe_fc7_spread"]) == ("32.0", "2.8")
    # What no trial has, and what a person has to tell.
    assert [second[name] for name in ("probe_best", "nmi_previous", "data")] == ["", "", ""]


def test_indicators_are_ranked_against_probes():
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
    from benchmarks.learning.report import indicator_table

    trials = [trial("a", str(i), probe, 0.5) for i, probe in enumerate((0.2, 0.3, 0.4))]
    trials.append(trial("untrained", "1", 0.1))
    for one, agreement in zip(trials, (0.9, 0.8, 0.7, 0.6), strict=True):
        one["figures"]["seeds_agree"] = agreement
    (found,) = [line for line in indicator_table(trials).splitlines() if "seeds_agree" in line]
    assert found == "| seeds_agree | - | - | -1.00 | - | 3 |"
