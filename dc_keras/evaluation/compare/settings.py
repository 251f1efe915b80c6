"""Runs that differ in their seed alone: several seeds of one setting."""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from typing import Any

from dc_keras.config import TrainingConfig
from dc_keras.evaluation.compare.judged import Judged
from dc_keras.evaluation.compare.significance import binomial_error, error_over_seeds
from dc_keras.runs.given import Given

# Beside flags that change nothing of what is learned. How long a run was is no such flag.
_MAY_DIFFER = ("seed", "run_dir")


@dataclasses.dataclass(frozen=True)
class Setting:
    """Runs of one setting, with a seed each.

    Attributes:
        name: What it is called.
        runs: At least one.
    """

    name: str
    runs: tuple[Judged, ...]

    @property
    def seeds(self) -> list[int]:
        """The seeds, in the order of the runs."""
        return [one.seed for one in self.runs]

    def values(self, key: str) -> list[float] | None:
        """A figure of each run; None where one has none."""
        values = [one.figures.get(key) for one in self.runs]
        known = [value for value in values if value is not None]
        return known if len(known) == len(values) else None

    def figures(self, keys: Iterable[str]) -> dict[str, float]:
        """Means over the seeds.

        Args:
            keys: Names of figures.

        Returns:
            Figures by name, where all runs have them. With `_sd` behind the name standard errors:
            over seeds; of a single run that of an accuracy on so many test images. With `_spread`
            behind it the standard deviation over seeds (of a sample).
        """
        found: dict[str, float] = {}
        for key in keys:
            values = self.values(key)
            if values is None:
                continue
            found[key] = sum(values) / len(values)
            if len(values) > 1:
                found[f"{key}_sd"] = error_over_seeds(values)
                found[f"{key}_spread"] = found[f"{key}_sd"] * len(values) ** 0.5
            elif key in self.runs[0].correct:
                found[f"{key}_sd"] = binomial_error(values[0], len(self.runs[0].correct[key]))
        return found


def fingerprint(config: TrainingConfig, given: Given | None) -> str:
    """What runs of one setting have in common: all flags but the seed, and what was given."""
    flags: dict[str, Any] = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name not in _MAY_DIFFER
        and (field.name == "epochs" or not field.metadata.get("may_change"))
    }
    return repr((sorted(flags.items()), given))


def group(judged: Sequence[Judged], fingerprints: Sequence[str]) -> list[Setting]:
    """Puts seeds of one setting together.

    A seed that a setting has already begins another one: such runs differ in something that is no
    flag, as imported weights do.

    Args:
        judged: Runs in their order.
        fingerprints: What each was made with, see `fingerprint`.

    Returns:
        Settings in the order of their first runs, called after these; the whole path of a run is
        taken where its folder's name is not its own.
    """
    groups: list[tuple[str, list[Judged]]] = []
    for one, made_with in zip(judged, fingerprints, strict=True):
        for other, runs in groups:
            if other == made_with and one.seed not in [run.seed for run in runs]:
                runs.append(one)
                break
        else:
            groups.append((made_with, [one]))
    short = [os.path.basename(os.path.abspath(runs[0].run)) for _, runs in groups]
    return [
        Setting(runs[0].run if short.count(name) > 1 else name, tuple(runs))
        for name, (_, runs) in zip(short, groups, strict=True)
    ]
