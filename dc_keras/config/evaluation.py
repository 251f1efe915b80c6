"""Settings of evaluate.py."""

import dataclasses
import os
from typing import ClassVar

from dc_keras.config.flags import Config, flag, listed
from dc_keras.config.training import wrong_labels
from dc_keras.machine import STRATEGIES

BASELINES = ("random", "init", "pixels", "patches", "supervised")
# How the files of networks by others end.
NETWORK_FILE = ".keras"
# What evaluate.py measures, and what of it by default.
TASKS = (
    *("clusters", "knn", "linear", "layers", "lowshot", "semi"),
    *("voc", "retrieval", "look"),
)
USUAL_TASKS = ("clusters", "knn", "linear")


@dataclasses.dataclass(frozen=True)
class EvaluationConfig(Config):
    """Settings of evaluate.py."""

    PRESETS: ClassVar[str] = "evaluate_"

    run_dir: str = flag("", "Folder of the run to evaluate.")
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
        "(linear probes on the last convolution and fc7), layers (linear probes on all layers), "
        "lowshot (linear SVMs on 1 to 96 images of each class), semi (the whole network trained on "
        "with 1 and 10 % of the labels), voc (classification of PASCAL VOC, see --voc_dir), "
        "retrieval (search for images, see --retrieval_dir), look (filters and heat maps).",
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
    probe: str = flag(
        "convex",
        "How the probes of --task=layers are trained: convex (logistic regression on centre crops) "
        "or sgd (as published, on random crops: a pass over the images for each epoch).",
        choices=("convex", "sgd"),
    )
    probe_epochs: int = flag(
        0, "Epochs of --probe=sgd; 0: as published, 100, or 90 for AlexNet.", at_least=0
    )
    ten_crops: bool = flag(False, "Test --probe=sgd on ten crops of each image.")
    voc_dir: str = flag("", "The VOCdevkit folder for --task=voc, or VOC2007 in it.")
    voc_tune: str = flag(
        "",
        "Beside linear SVMs also train the network on, separated by commas: all (its layers), fc "
        "(fc6 to fc8 alone). Days without a GPU.",
    )
    voc_steps: int = flag(80_000, "Steps of --voc_tune.", at_least=1)
    retrieval_dir: str = flag(
        "", "Images to search among for --task=retrieval, of any size; class folders are enough."
    )
    queries: str = flag(
        "",
        "What is looked for: the folder of Oxford5k's or Paris6k's ground truth, a .json file of "
        "the revisited one, or a CSV file with the columns query and relevant. Default: each image "
        "looks for those of its class folder.",
    )
    whiten_dir: str = flag(
        "", "Other images that whitening is learned from; default: those of the run."
    )
    longest_side: int = flag(1024, "Size of images for --task=retrieval in pixels.", at_least=32)
    compare: str = flag(
        "",
        "Compare runs that were evaluated on the same images before, separated by commas: a table "
        "with standard errors and paired tests against the first one. Needs no --run_dir.",
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

    def compared_runs(self) -> tuple[str, ...]:
        """The runs to compare, in order, each once."""
        return listed(self.compare)

    def tuned(self) -> tuple[str, ...]:
        """What of the network is trained on with PASCAL VOC."""
        return listed(self.voc_tune)

    def missing(self) -> list[str]:
        needed = [] if self.compare or self.run_dir else ["--run_dir or --compare"]
        images = {"voc": "voc_dir", "retrieval": "retrieval_dir"}
        needed += [
            f"--{name} for --task={task}"
            for task, name in images.items()
            if task in self.tasks() and not getattr(self, name)
        ]
        return needed + super().missing()

    def tasks(self) -> tuple[str, ...]:
        """What is measured, in order, each once."""
        return listed(self.task)

    def needs_labels(self) -> bool:
        """Whether a task is on the labelled images, or something is trained with them."""
        on_labels = {"clusters", "knn", "linear", "layers", "lowshot", "semi"}
        return "supervised" in self.baselines() or not on_labels.isdisjoint(self.tasks())

    def measured(self) -> tuple[str, ...]:
        """The tasks that measure each of those that are compared."""
        return tuple(task for task in self.tasks() if task != "look")

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
        found += self._without_their_task()
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

    def _without_their_task(self) -> list[str]:
        """What is asked for in vain, since the task is not asked for that it is of."""
        found = []
        of_task = {
            "layers": ("probe", "probe_epochs", "ten_crops"),
            "voc": ("voc_dir", "voc_tune", "voc_steps"),
            "retrieval": ("retrieval_dir", "queries", "whiten_dir", "longest_side"),
        }
        for task, names in of_task.items():
            if task not in self.tasks() and (given := self.changed(*names)):
                found.append(
                    f"These are for --task={task} alone. Received: "
                    f"{', '.join(f'--{name}={getattr(self, name)}' for name in given)} with "
                    f"--task={self.task}. Leave them out, or add the task."
                )
        if self.probe != "sgd" and (given := self.changed("probe_epochs", "ten_crops")):
            found.append(
                f"These are for --probe=sgd alone. Received: {', '.join(f'--{n}' for n in given)} "
                f"with --probe={self.probe}. Leave them out."
            )
        if not self.voc_tune and self.changed("voc_steps"):
            found.append(
                f"Nothing is trained. Received: --voc_steps={self.voc_steps} without --voc_tune. "
                "Leave it out, or give --voc_tune=all,fc."
            )
        if unknown := [part for part in self.tuned() if part not in ("all", "fc")]:
            found.append(
                f"Unknown part of the network. Received: --voc_tune={unknown[0]}. Expected all or "
                "fc, separated by commas."
            )
        if self.compare and self.run_dir:
            found.append(
                "Runs are compared by their reports. Received: --compare with --run_dir="
                f"{self.run_dir}. Leave one of them out."
            )
        if self.compare and len(self.compared_runs()) < 2:
            found.append(
                f"There is nothing to compare. Received: --compare={self.compare}. Expected two "
                "runs or more, separated by commas."
            )
        return found
