"""Settings of evaluate.py."""

import dataclasses
import os

from dc_keras.config.flags import Config, flag, listed
from dc_keras.config.training import wrong_labels
from dc_keras.machine import STRATEGIES

BASELINES = ("random", "init", "pixels", "patches", "supervised")
# How the files of networks by others end.
NETWORK_FILE = ".keras"
# What evaluate.py measures, and what of it by default.
TASKS = ("clusters", "knn", "linear", "lowshot")
USUAL_TASKS = ("clusters", "knn", "linear")


@dataclasses.dataclass(frozen=True)
class EvaluationConfig(Config):
    """Settings of evaluate.py."""

    run_dir: str = flag("", "Folder of the run to evaluate.", required=True)
    data_dir: str = flag(
        "", "Labelled images to train the probes on; default: the images of the run."
    )
    test_dir: str = flag(
        "", "Labelled images to test on; default: --test_fraction of the images of --data_dir."
    )
    labels: str = flag(
        "",
        "Classes of the images in place of their own, or of those that the run has noted: folders "
        "(the sub-folders, and images outside are left out), or a CSV file with the columns path "
        "(below --data_dir) and label, in which images of a --test_dir without classes are looked "
        "up too.",
    )
    test_fraction: float = flag(
        0.2, "Part of each class to test on without a --test_dir.", above=0, below=1
    )
    task: str = flag(
        ",".join(USUAL_TASKS),
        "What is measured, separated by commas: clusters (agreement with the classes, of the run's "
        "number of clusters and of as many as there are classes), knn (nearest neighbours), linear "
        "(linear probes), lowshot (linear SVMs on 1 to 96 images of each class).",
    )
    baseline: str = flag(
        "random",
        "Networks to compare with, separated by commas: random (with the initial weights of the "
        "run's seed, as they are and with batch norm statistics fitted to the images), init (of a "
        "run with --init_from: what it started from), pixels (no network: the centre crops as they "
        "are), patches (no network: k-means on whitened patches of 6 x 6 pixels, some minutes), "
        "supervised (the same network trained with the labels), folders of other runs, and .keras "
        "files of networks by others, all judged on the same images. Empty: none. A run of "
        "dc-keras cluster has neither random nor supervised.",
    )
    out: str = flag("", "Folder to write the report to; default: evaluation in --run_dir.")
    max_images: int = flag(
        20000,
        "Use at most this many images for probes, k-NN and cluster quality, drawn at random from "
        "each class in proportion to its size.",
        at_least=1,
    )
    batch_size: int = flag(256, "Images in a step of feature extraction.", at_least=1)
    strategy: str = flag("auto", "As for train.py.", choices=STRATEGIES)
    virtual_devices: int = flag(0, "As for train.py.", at_least=0)

    def tasks(self) -> tuple[str, ...]:
        """What is measured, in order, each once."""
        return listed(self.task)

    def baselines(self) -> tuple[str, ...]:
        """The baselines asked for, in order, each once."""
        return listed(self.baseline)

    def other_runs(self) -> tuple[str, ...]:
        """Those baselines that are folders of runs."""
        return tuple(
            name
            for name in self.baselines()
            if name not in BASELINES and not name.endswith(NETWORK_FILE)
        )

    def conflicts(self) -> list[str]:
        found = [
            f"Unknown baseline. Received: --baseline={name}. "
            f"Expected some of: {', '.join(BASELINES)}, the folder of a run, or a .keras file."
            for name in self.other_runs()
            if not os.path.isfile(os.path.join(name, "flags.cfg"))
        ]
        expected = f"Expected some of: {', '.join(TASKS)}, separated by commas."
        found += [
            f"Unknown task. Received: --task={name}. {expected}"
            for name in self.tasks()
            if name not in TASKS
        ]
        if not self.tasks():
            found.append(f"There is nothing to measure. Received: --task={self.task}. {expected}")
        found += wrong_labels(self.labels)
        if self.labels == "none":
            found.append(
                "Without labels there is nothing to compare with. Received: --labels=none. "
                "Expected folders, or a .csv file with the columns path and label."
            )
        if self.test_dir and self.changed("test_fraction"):
            found.append(
                "Nothing is split off where there are test images. Received: --test_fraction="
                f"{self.test_fraction} with --test_dir={self.test_dir}. Leave one of them out."
            )
        if self.virtual_devices and self.strategy == "one":
            found.append(
                "Only the first virtual device would be used. Received: --virtual_devices="
                f"{self.virtual_devices} with --strategy=one. Leave one of them out."
            )
        return found
