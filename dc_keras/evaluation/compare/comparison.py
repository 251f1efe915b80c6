"""Runs against the first of them: means with standard errors, and paired tests."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence

from dc_keras.errors import InputError
from dc_keras.evaluation.compare.judged import check_same_images, read_judged
from dc_keras.evaluation.compare.settings import Setting, fingerprint, group
from dc_keras.evaluation.compare.significance import Difference, holm, mcnemar, paired_t
from dc_keras.runs.given import load_given
from dc_keras.runs.run_directory import RunDirectory

# What is compared: names of figures, as they are called and written. Few, since each is one more
# test that can be small by chance.
FIGURES = {
    "probe_conv5": ("conv5 probe", ".1%"),
    "probe_fc7": ("fc7 probe", ".1%"),
    "knn_conv5": ("conv5 k-NN", ".1%"),
    "knn_fc7": ("fc7 k-NN", ".1%"),
    "lowshot_fc7_1": ("1 image a class", ".1%"),
    "lowshot_fc7_16": ("16 images a class", ".1%"),
    "semi_1": ("1 % of labels", ".1%"),
    "semi_10": ("10 % of labels", ".1%"),
    "nmi": ("NMI", ".3f"),
    "purity": ("purity", ".1%"),
    "nmi_classes": ("NMI, k = classes", ".3f"),
    "accuracy_classes": ("accuracy, k = classes", ".1%"),
}
# Figures that rise with the number of clusters by themselves.
_AT_K = ("nmi", "purity")


@dataclasses.dataclass(frozen=True)
class Compared:
    """A figure of one setting beside that of the first.

    Attributes:
        setting: Name of the setting.
        figure: Name of the figure.
        difference: How much better it is than the first; None where nothing can be tested.
        p: Its probability by chance, corrected by Holm for all of the table.
        reason: Why nothing can be tested, a part of a sentence.
    """

    setting: str
    figure: str
    difference: Difference | None
    p: float | None = None
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Several settings, each against the first.

    Attributes:
        settings: In the order in which they were named.
        compared: All pairs of a setting and a figure, but for the first setting.
        remarks: What a reader should know, a sentence each.
    """

    settings: tuple[Setting, ...]
    compared: tuple[Compared, ...]
    remarks: tuple[str, ...] = ()

    @property
    def rows(self) -> dict[str, dict[str, float]]:
        """Figures by setting, with standard errors as `_sd`."""
        return {one.name: one.figures(FIGURES) for one in self.settings}

    @property
    def figures(self) -> list[str]:
        """Names of the figures that some setting has."""
        known = set().union(*self.rows.values())
        return [key for key in FIGURES if key in known]

    def to_json(self) -> str:
        """The comparison as a JSON object, with all digits."""
        content = {
            "settings": [
                {
                    "name": one.name,
                    "runs": [run.run for run in one.runs],
                    "seeds": one.seeds,
                    "figures": one.figures(FIGURES),
                }
                for one in self.settings
            ],
            "compared": [dataclasses.asdict(one) for one in self.compared],
            "remarks": self.remarks,
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def compare_runs(runs: Sequence[str | os.PathLike]) -> Comparison:
    """Compares runs that evaluate.py has judged on the same images.

    Args:
        runs: Their folders, two or more; each setting is compared with that of the first.

    Raises:
        InputError: If there are fewer, or one was not evaluated, or on other images.
    """
    paths = list(dict.fromkeys(pathlib.Path(run) for run in runs))
    if len(paths) < 2:
        raise InputError(
            f"There is nothing to compare with. Received: --compare={','.join(map(str, paths))}. "
            "Expected the folders of two or more runs, separated by commas."
        )
    directories = [RunDirectory(path) for path in paths]
    made_with = [fingerprint(run.config(), load_given(run)) for run in directories]
    judged = [read_judged(run) for run in directories]
    remarks = check_same_images(judged)
    return compare_settings(group(judged, made_with), remarks)


def compare_settings(settings: Sequence[Setting], remarks: Sequence[str] = ()) -> Comparison:
    """Compares settings with the first of them.

    Args:
        settings: Of runs that were tested on the same images.
        remarks: What is known to differ beside.
    """
    first, *others = settings
    numbers = {run.num_clusters for setting in settings for run in setting.runs}
    keys = [key for key in FIGURES if key not in _AT_K or len(numbers) == 1]
    compared = [
        _compare(first, other, key)
        for other in others
        for key in keys
        if first.values(key) and other.values(key)
    ]
    tested = [one for one in compared if one.difference]
    corrected = iter(holm([one.difference.p for one in tested if one.difference]))
    return Comparison(
        tuple(settings),
        tuple(
            dataclasses.replace(one, p=next(corrected)) if one.difference else one
            for one in compared
        ),
        tuple(remarks),
    )


def _compare(first: Setting, other: Setting, key: str) -> Compared:
    """Tests one figure over what both have: seeds, or test images."""
    if len(first.runs) == len(other.runs) == 1:
        correct = [setting.runs[0].correct.get(key) for setting in (first, other)]
        if correct[0] is None or correct[1] is None:
            reason = "of single runs it has no test: train several seeds"
            return Compared(other.name, key, None, reason=reason)
        return Compared(other.name, key, mcnemar(correct[0], correct[1]))
    common = [seed for seed in first.seeds if seed in other.seeds]
    if len(common) < 2:
        shared = "one" if common else "none"
        reason = f"a test needs two seeds that both have, and there is {shared}"
        return Compared(other.name, key, None, reason=reason)
    a, b = (
        [one.figures[key] for seed in common for one in setting.runs if one.seed == seed]
        for setting in (first, other)
    )
    return Compared(other.name, key, paired_t(a, b))
