"""Settings of the programs: the only module that reads flags.

Each program has one frozen dataclass; its fields are its flags. `parser(TrainingConfig)` makes what
`absl.app.run` needs: flags in, a validated config out. Everything else in the package takes plain
arguments. TensorFlow is not imported here, so a wrong flag is reported at once.
"""

import dataclasses
import math
import os
import pathlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Self

from absl import flags

from dc_keras.errors import InputError
from dc_keras.files import write_atomically
from dc_keras.runtime import PRECISIONS, STRATEGIES

BASELINES = ("random", "pixels", "supervised")
FC_INITS = ("published", "scaled")
CLUSTERINGS = ("kmeans", "pic")
KMEANS_INITS = ("random", "kmeans++")
SAMPLERS = ("uniform", "sqrt", "natural", "reweight", "released")
ARCHITECTURES = ("vgg16", "alexnet")
CACHES = ("auto", "ram", "disk", "off")
ON_COLLAPSE = ("warn", "stop")
HEADS = ("linear", "cosine")
HEAD_STARTS = ("redrawn", "matched", "centroids")
LEARNING_RATE_SCHEDULES = ("constant", "cosine")

# What `--mode` sets where the flags themselves are not given. The defaults are the paper's.
MODES = {
    "paper": {},
    "released": {"sampler": "released", "epochs": 200},
    "improved": {
        "sobel": False,
        "color_jitter": 1.0,
        "grayscale": 0.2,
        "fc_init": "scaled",
        "fc_norm": True,
        "dropout": 0.0,
        "instance_weight": 0.8,
        "head": "cosine",
        "head_start": "centroids",
        "whiten": False,
        "kmeans_spherical": True,
    },
}


def _flag(default: Any, help_text: str, *, choices: Sequence[str] = (), required: bool = False):
    """A dataclass field that is also a flag."""
    metadata = {"help": help_text, "choices": tuple(choices), "required": required}
    return dataclasses.field(default=default, metadata=metadata)


def _argument(name: str, help_text: str):
    """A dataclass field that is an argument of the program, by its place and not by its name."""
    return dataclasses.field(default="", metadata={"argument": name, "help": help_text})


@dataclasses.dataclass(frozen=True)
class _Config:
    """What the programs' settings have in common: flags, flagfiles, validation."""

    @classmethod
    def define_flags(cls, flag_values: flags.FlagValues) -> None:
        """Defines one flag for each field, unless it is defined already."""
        for field in dataclasses.fields(cls):
            if field.name in flag_values or "argument" in field.metadata:
                continue
            define = {
                int: flags.DEFINE_integer,
                float: flags.DEFINE_float,
                bool: flags.DEFINE_boolean,
                str: flags.DEFINE_string,
            }
            arguments = [field.name, field.default, field.metadata["help"]]
            keywords = {"flag_values": flag_values}
            if field.metadata["choices"]:
                arguments.insert(2, list(field.metadata["choices"]))
                flags.DEFINE_enum(*arguments, **keywords)
            else:
                define[field.type](*arguments, **keywords)
            # --help lists the key flags of the program that was started.
            flag_values.register_key_flag_for_module(sys.argv[0], flag_values[field.name])

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> Self:
        """Parses command-line arguments, without touching absl's global flags.

        Args:
            arguments: Such as `["--flagfile=run/flags.cfg", "--epochs=3"]`.

        Raises:
            InputError: If a flag is unknown or malformed.
        """
        flag_values = flags.FlagValues()
        flags.DEFINE_string("flagfile", "", "A file of flags.", flag_values=flag_values)
        cls.define_flags(flag_values)
        return cls._parse(flag_values, ["", *arguments])

    @classmethod
    def _parse(cls, flag_values: flags.FlagValues, argv: Sequence[str]) -> Self:
        """Parses `argv`, turning what absl raises into an InputError."""
        # Flags may also stand behind arguments.
        flag_values.set_gnu_getopt()
        try:
            rest = flag_values(argv)[1:]
        except (flags.Error, OSError, UnicodeDecodeError) as error:
            raise InputError(f"{error} Use --help to see the flags.") from error
        fields = dataclasses.fields(cls)
        arguments = [field for field in fields if "argument" in field.metadata]
        if len(rest) > len(arguments):
            names = "".join(f"{field.metadata['argument']} " for field in arguments)
            raise InputError(
                f"Arguments that are not flags. Received: {' '.join(rest[len(arguments) :])}. "
                f"Expected only {names}--name=value (in a flagfile, one on each line)."
            )
        values = {f.name: flag_values[f.name].value for f in fields if f not in arguments}
        # Missing arguments are missed with the required flags.
        values |= {field.name: value for field, value in zip(arguments, rest, strict=False)}
        given = {name for name in values if name in flag_values and flag_values[name].present}
        presets = cls.presets(values)
        return cls(**values | {name: presets[name] for name in presets.keys() - given})

    @classmethod
    def presets(cls, values: dict[str, Any]) -> dict[str, Any]:
        """What flags are worth that were not given, where that depends on other flags."""
        return {}

    def to_flagfile(self) -> str:
        """The settings as a flagfile that repeats them."""
        lines = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool):
                value = str(value).lower()
            lines.append(f"--{field.name}={value}\n")
        return "".join(lines)

    def missing(self) -> list[str]:
        """The required flags and arguments that were not given, as they are written."""
        return [
            field.metadata.get("argument", f"--{field.name}")
            for field in dataclasses.fields(self)
            if field.metadata.get("required", True) and getattr(self, field.name) == field.default
        ]

    def problems(self) -> list[str]:
        """What is wrong with the values, one message each; empty when all is well."""
        return []

    def validate(self) -> None:
        """Checks all settings together.

        Raises:
            InputError: Lists every problem found.
        """
        problems = self.problems()
        if missing := self.missing():
            problems.insert(0, f"{' and '.join(missing)} must be given.")
        if problems:
            raise InputError("\n".join(problems))


@dataclasses.dataclass(frozen=True)
class TrainingConfig(_Config):
    """Settings of train.py. The defaults are the paper's, for ImageNet and VGG16."""

    mode: str = _flag(
        "paper",
        "Presets for flags that are not given. paper: the published method, which is what all "
        "other defaults are; released: what the public code does; improved: what was found to "
        "learn better, see docs/method.md.",
        choices=MODES,
    )

    # Files.
    data_dir: str = _flag(
        "",
        "Images to learn from: a folder (class sub-folders or flat, nested), an .npz file with an "
        "array `images` uint8 (n, h, w, 1 or 3), TFRecord shards (their folder, or a pattern such "
        "as /data/train-*-of-*), a folder made by dc_keras.data.pack, tfds:NAME (TensorFlow "
        "Datasets), or sklearn:digits. Paths may be those of tf.io.gfile, such as gs://. Labels "
        "are never trained on.",
        required=True,
    )
    run_dir: str = _flag(
        "", "Folder for everything the run writes; made when absent.", required=True
    )
    resume: str = _flag(
        "auto",
        "auto: go on from the newest checkpoint of --run_dir, if it has one; never: refuse a "
        "--run_dir that holds a run; PATH: start from that checkpoint folder, and drop what the "
        "run did after it.",
    )
    keep_checkpoints: int = _flag(3, "Number of newest checkpoints to keep.")
    checkpoint_every_steps: int = _flag(
        0, "Save also after every so many training steps of an epoch; 0: at its end alone."
    )
    checkpoint_every_minutes: float = _flag(
        0.0, "Save also when so many minutes have passed since the last time; 0: do not."
    )
    max_bad_fraction: float = _flag(
        0.01,
        "Stop when more than this fraction of the image files cannot be read, at the start or "
        "during the run; others stand in for images that vanish meanwhile.",
    )

    cache: str = _flag(
        "auto",
        "Decoded images. auto: held in memory when they take at most a quarter of what is free, "
        "but not with --deterministic, since crops of JPEGs come out a little different at their "
        "edges; ram: held in memory; disk: held in a file in --run_dir that ends with the process, "
        "when they take at most half of the free disk; off: read from their files each time.",
        choices=CACHES,
    )

    # Images.
    image_size: int = _flag(
        224,
        "Side of the network's input in pixels: a multiple of 32 for vgg16, at least 63 for "
        "alexnet.",
    )
    crop_min_area: float = _flag(
        0.08, "Smallest area of a random training crop, as a fraction of the image."
    )
    hflip: bool = _flag(True, "Mirror half of the training images left to right.")
    color_jitter: float = _flag(
        0.0,
        "Strength of random changes of brightness, contrast, saturation and hue of training "
        "images; 1 is usual, 0 is off.",
    )
    grayscale: float = _flag(0.0, "Part of the training images that lose all colour.")

    # Network.
    arch: str = _flag(
        "vgg16",
        "vgg16 or alexnet, both with batch norm, as published.",
        choices=ARCHITECTURES,
    )
    sobel: bool = _flag(True, "Show the network image gradients instead of colours.")
    width: float = _flag(1.0, "Multiplies the number of channels and units; 1 is published.")
    dropout: float = _flag(
        0.5, "Dropout rate between the two fully connected layers; of alexnet before both."
    )
    fc_init: str = _flag(
        "published",
        "Initial weights of the fully connected layers. published: N(0, 0.01); scaled: N(0, s) "
        "with s such that a narrow network, or one for small images, passes on as much signal as "
        "the published network at 224 pixels does with 0.01.",
        choices=FC_INITS,
    )

    fc_norm: bool = _flag(
        False, "Batch norm behind both fully connected layers; features are taken behind it."
    )
    projection: int = _flag(
        0,
        "Put two layers behind fc7, the last with so many outputs, which are clustered and seen by "
        "the head in place of fc7; 0: none, as published.",
    )
    head: str = _flag(
        "linear",
        "linear: a linear classifier of the clusters, as published; cosine: cosine similarities "
        "of features and one row a cluster, over --temperature.",
        choices=HEADS,
    )
    temperature: float = _flag(0.1, "Divides the similarities of --head=cosine.")
    head_start: str = _flag(
        "redrawn",
        "Weights of the head after each clustering. redrawn: random, as published; matched: "
        "clusters keep number and weights of those before with which they share most images; "
        "centroids: the clusters' centres.",
        choices=HEAD_STARTS,
    )

    instance_weight: float = _flag(
        0.0,
        "Part of the loss that is telling images from each other, not clusters: each image that is "
        "drawn gives two crops, and each must find the other among the batch. 0: none, as "
        "published.",
    )
    instance_temperature: float = _flag(
        0.2, "Divides the similarities of crops with --instance_weight."
    )
    instances_first: float = _flag(
        0.3,
        "With --instance_weight, part of the epochs, from the first on, that learn from that "
        "alone: clusters of a random network teach its colours and edges.",
    )

    # Clustering.
    clustering: str = _flag(
        "kmeans",
        "kmeans; or pic: power iteration clustering on the graph of nearest neighbours, which "
        "finds the number of clusters by itself.",
        choices=CLUSTERINGS,
    )
    num_clusters: int = _flag(
        10000,
        "Number of clusters of k-means, and outputs of the head. With --clustering=pic, the "
        "largest number: the smallest clusters beyond it are merged into others.",
    )
    reassign: float = _flag(
        1.0,
        "Epochs between two clusterings. Below 1 an epoch is cut into turns of that length; "
        "above 1 pseudo-labels and head stay for several epochs.",
    )
    reassign_churn: float = _flag(
        0.0,
        "Cluster anew only when more than this part of the images, estimated on a sample, has "
        "moved to another cluster; else pseudo-labels and head stay. 0: always.",
    )
    pca_dim: int = _flag(256, "Dimensions of the descriptors after PCA and whitening.")
    whiten: bool = _flag(
        True,
        "Scale the directions that PCA finds to equal variance. Without, k-means weighs them as "
        "the head sees them.",
    )
    pca_images: int = _flag(
        32768,
        "Number of random images on whose features PCA is fitted; all when there are fewer. "
        "Their features are held in memory: 16 kB an image at width 1.",
    )
    kmeans_iterations: int = _flag(20, "Iterations of k-means, at most.")
    kmeans_spherical: bool = _flag(
        False, "Scale the centroids of k-means to unit length in each iteration."
    )
    kmeans_init: str = _flag(
        "random",
        "What k-means starts from. random: random images; kmeans++: images drawn far from each "
        "other, which takes a pass over all descriptors for each cluster, on the CPU.",
        choices=KMEANS_INITS,
    )
    kmeans_warm_start: bool = _flag(
        False,
        "Start k-means from the means of the clusters before, on the new descriptors; only the "
        "first clustering uses --kmeans_init.",
    )
    kmeans_max_points: int = _flag(
        0,
        "Learn the centroids of k-means from a random sample of at most this many images a "
        "cluster; 0: from all images.",
    )
    kmeans_nredo: int = _flag(
        1, "Repetitions of k-means from other starting points; the best is kept."
    )
    kmeans_early_stop: float = _flag(
        0.0,
        "Stop k-means when an iteration changes the objective by at most this fraction; 0: never.",
    )
    kmeans_two_level_from: int = _flag(
        50000,
        "From this --num_clusters on, k-means finds coarse clusters first and the others within "
        "each; 0: never.",
    )

    # Sampling.
    sampler: str = _flag(
        "uniform",
        "Images of an epoch. uniform: every cluster as often as any other, as published; sqrt: "
        "clusters in proportion to the square root of their size; natural: every image once; "
        "reweight: every image once, its loss weighted by the inverse of its cluster's size; "
        "released: what the public code does, close to natural.",
        choices=SAMPLERS,
    )

    # Optimisation.
    epochs: int = _flag(500, "Passes over the data set; one pass sees as many images as it has.")
    batch_size: int = _flag(256, "Images in a training step, over all replicas together.")
    learning_rate: float = _flag(0.05, "Learning rate of both optimizers.")
    learning_rate_schedule: str = _flag(
        "constant",
        "constant, as published; cosine: falls to 0 over all --epochs.",
        choices=LEARNING_RATE_SCHEDULES,
    )
    momentum: float = _flag(0.9, "Momentum of the backbone's SGD; the head's has none.")
    weight_decay: float = _flag(1e-5, "Coupled L2 weight decay on all trained weights.")

    # What to do when it goes wrong.
    max_cluster_fraction: float = _flag(
        0.3, "Largest part of the images that one cluster may hold without a warning of collapse."
    )
    on_collapse: str = _flag(
        "warn",
        "When features or clusters collapse. warn: say so, once for each sign of it, and go on; "
        "stop: end the run, whose checkpoints stay. A loss that is not finite always ends it.",
        choices=ON_COLLAPSE,
    )

    # Machine.
    seed: int = _flag(31, "Every random draw of the run derives from it.")
    deterministic: bool = _flag(
        False,
        "Let TensorFlow compute in a fixed order, so that a run repeats bit for bit on the same "
        "machine. Slower.",
    )
    precision: str = _flag(
        "float32",
        "What the network computes in. mixed_bfloat16: about half the time on processors and GPUs "
        "with bfloat16 units; mixed_float16: for older GPUs, with a loss scale that finds itself. "
        "Weights, logits, loss and clustering are float32 in all of them.",
        choices=PRECISIONS,
    )
    strategy: str = _flag(
        "auto",
        "one: a single device; mirrored: every GPU (or virtual device); auto: mirrored where "
        "there is more than one.",
        choices=STRATEGIES,
    )
    virtual_devices: int = _flag(
        0, "Split the CPU into this many devices, to try --strategy=mirrored; 0 is off."
    )

    # Flags that may differ when a run goes on: they do not change what is computed, or lengthen it.
    _MAY_CHANGE = (
        "mode",
        "run_dir",
        "resume",
        "keep_checkpoints",
        "checkpoint_every_steps",
        "checkpoint_every_minutes",
        "max_bad_fraction",
        "cache",
        "max_cluster_fraction",
        "on_collapse",
        "epochs",
        "strategy",
        "virtual_devices",
    )

    @classmethod
    def presets(cls, values: dict[str, Any]) -> dict[str, Any]:
        return MODES[values["mode"]]

    def origins(self) -> dict[str, str]:
        """Where each setting comes from: "default" (the paper), "mode" or "given"."""
        origins = {}
        for field in dataclasses.fields(self):
            preset = MODES[self.mode].get(field.name, field.default)
            if getattr(self, field.name) != preset:
                origins[field.name] = "given"
            else:
                origins[field.name] = "mode" if field.name in MODES[self.mode] else "default"
        return origins

    @property
    def views(self) -> int:
        """Crops of each image that is drawn for training."""
        return 2 if self.instance_weight else 1

    def problems(self) -> list[str]:
        found = []

        def expect(holds: bool, name: str, expected: str) -> None:
            if not holds:
                value = getattr(self, name)
                found.append(f"Invalid --{name}. Received: {value}. Expected {expected}.")

        if self.arch == "alexnet":
            # Smaller images would leave nothing after the last pooling.
            expect(self.image_size >= 63, "image_size", "at least 63 for --arch=alexnet")
        elif self.image_size < 32 or self.image_size % 32:
            nearest = max(32, round(self.image_size / 32) * 32)
            expect(False, "image_size", f"a multiple of 32, such as {nearest}")
        expect(0 < self.crop_min_area <= 1, "crop_min_area", "a fraction in (0, 1]")
        expect(0 <= self.color_jitter <= 2.5, "color_jitter", "a strength from 0 to 2.5")
        expect(0 <= self.grayscale <= 1, "grayscale", "a fraction in [0, 1]")
        expect(0 < self.temperature < math.inf, "temperature", "a temperature above 0")
        expect(self.projection >= 0, "projection", "a number of outputs, 0 for none")
        expect(0 <= self.instance_weight < 1, "instance_weight", "a fraction in [0, 1)")
        expect(0 <= self.instances_first < 1, "instances_first", "a fraction in [0, 1)")
        expect(0 < self.instance_temperature < math.inf, "instance_temperature", "above 0")
        expect(0 <= self.reassign_churn < 1, "reassign_churn", "a fraction in [0, 1)")
        expect(0 <= self.max_bad_fraction < 1, "max_bad_fraction", "a fraction in [0, 1)")
        expect(1 / 64 <= self.width <= 4, "width", "a factor from 1/64 to 4")
        expect(0 <= self.dropout < 1, "dropout", "a rate in [0, 1)")
        expect(self.num_clusters >= 2, "num_clusters", "at least 2 clusters")
        expect(0 < self.reassign < math.inf, "reassign", "a number of epochs above 0")
        expect(self.pca_dim >= 1, "pca_dim", "at least 1 dimension")
        expect(
            self.pca_images > self.pca_dim,
            "pca_images",
            f"more images than --pca_dim={self.pca_dim}, or PCA has too few to be fitted on",
        )
        expect(self.kmeans_iterations >= 1, "kmeans_iterations", "at least 1 iteration")
        expect(self.kmeans_max_points >= 0, "kmeans_max_points", "a number of images, 0 for all")
        expect(self.kmeans_nredo >= 1, "kmeans_nredo", "at least 1 repetition")
        expect(
            0 <= self.kmeans_early_stop < 1,
            "kmeans_early_stop",
            "a fraction in [0, 1), such as 1e-3; 0 never stops",
        )
        expect(
            self.kmeans_two_level_from == 0 or self.kmeans_two_level_from >= 4,
            "kmeans_two_level_from",
            "0 (never) or at least 4 clusters",
        )
        found.extend(self._ignored_flags())
        expect(self.epochs >= 1, "epochs", "at least 1 epoch")
        expect(
            self.reassign <= self.epochs,
            "reassign",
            f"at most --epochs={self.epochs}, or the clustering would never be renewed",
        )
        expect(self.batch_size >= 1, "batch_size", "at least 1 image")
        expect(0 < self.learning_rate < math.inf, "learning_rate", "a rate above 0")
        expect(0 <= self.momentum < 1, "momentum", "a value in [0, 1)")
        expect(0 <= self.weight_decay < 1, "weight_decay", "a value in [0, 1), such as 1e-5")
        expect(self.keep_checkpoints >= 1, "keep_checkpoints", "at least 1")
        expect(self.checkpoint_every_steps >= 0, "checkpoint_every_steps", "0 or more steps")
        expect(
            0 <= self.checkpoint_every_minutes < math.inf,
            "checkpoint_every_minutes",
            "0 or more minutes",
        )
        expect(0 < self.max_cluster_fraction <= 1, "max_cluster_fraction", "a fraction in (0, 1]")
        expect(self.seed >= 0, "seed", "an integer from 0")
        expect(
            self.virtual_devices == 0 or self.virtual_devices >= 2,
            "virtual_devices",
            "0 (off) or at least 2",
        )
        if self.virtual_devices and self.strategy == "one":
            found.append(
                "Contradictory flags. Received: --virtual_devices="
                f"{self.virtual_devices} with --strategy=one, which would use only the first. "
                "Use --strategy=mirrored or leave --virtual_devices out."
            )
        replicas = max(1, self.virtual_devices)
        if self.batch_size % (replicas * self.views):
            found.append(batch_not_divisible(self.batch_size, replicas, self.views))
        return found

    def _ignored_flags(self) -> list[str]:
        """Flags that other flags would leave without effect."""
        found = []
        if self.head == "linear" and self.temperature != TrainingConfig.temperature:
            found.append(
                "A linear head has no temperature. Received: --temperature="
                f"{self.temperature} with --head=linear. Leave it out, or use --head=cosine."
            )
        for name in ("instance_temperature", "instances_first"):
            if not self.instance_weight and getattr(self, name) != getattr(TrainingConfig, name):
                found.append(
                    f"Images are not told from each other. Received: --{name}="
                    f"{getattr(self, name)} without --instance_weight. Leave it out, or give both."
                )
        if self.clustering == "pic":
            for name in ("head_start", "reassign_churn"):
                default = getattr(TrainingConfig, name)
                if getattr(self, name) != default:
                    found.append(
                        "Only k-means has as many clusters each time, with cells around their "
                        f"centres. Received: --{name}={getattr(self, name)} with --clustering=pic. "
                        f"Expected its default, {default}."
                    )
            return found + [
                f"Flags of k-means have no effect. Received: --{field.name}="
                f"{getattr(self, field.name)} with --clustering=pic. Expected its default, "
                f"{field.default}."
                for field in dataclasses.fields(self)
                if field.name.startswith("kmeans_") and getattr(self, field.name) != field.default
            ]
        if self.kmeans_warm_start and self.kmeans_nredo > 1:
            found.append(
                "Repetitions of a warm start are all the same. Received: --kmeans_warm_start with "
                f"--kmeans_nredo={self.kmeans_nredo}. Leave one of them out."
            )
        if self.kmeans_warm_start and 0 < self.kmeans_two_level_from <= self.num_clusters:
            found.append(
                "Clusters found in two levels cannot start from those before. Received: "
                f"--kmeans_warm_start with --num_clusters={self.num_clusters} and "
                f"--kmeans_two_level_from={self.kmeans_two_level_from}. Leave --kmeans_warm_start "
                "out, or switch the levels off with --kmeans_two_level_from=0."
            )
        return found

    def differences(self, other: Self) -> dict[str, tuple[Any, Any]]:
        """Flags that make another run of it: name -> (this value, the other's)."""
        may_change = set(self._MAY_CHANGE)
        if self.learning_rate_schedule != "constant" or (
            self.instance_weight and self.instances_first
        ):
            # What a step does depends on where the run ends.
            may_change.remove("epochs")
        return {
            field.name: (getattr(self, field.name), getattr(other, field.name))
            for field in dataclasses.fields(self)
            if field.name not in may_change
            and getattr(self, field.name) != getattr(other, field.name)
        }

    def with_absolute_paths(self) -> Self:
        """The same settings with paths that hold from any working directory.

        Raises:
            InputError: If a path cannot stand in a flagfile, which is UTF-8 with a flag a line.
        """
        changes = {"run_dir": os.path.abspath(self.run_dir)}
        if not self.data_dir.startswith(("sklearn:", "tfds:")) and "://" not in self.data_dir:
            changes["data_dir"] = os.path.abspath(self.data_dir)
        for name, path in changes.items():
            # absl reads UTF-8, takes it apart at line ends and strips the lines.
            if path != path.rstrip() or re.search("[\r\n\ud800-\udfff]", path):
                raise InputError(
                    f"The path cannot be kept in the run's flagfile. Received: --{name}={path!r}. "
                    "Expected: UTF-8 without line ends, and without spaces at its end. Rename "
                    "the folder, or make a link to it under another name."
                )
        return dataclasses.replace(self, **changes)

    def save(self, path: str | os.PathLike) -> None:
        """Writes a flagfile that repeats the run."""
        with write_atomically(path) as file:
            file.write("# The settings of this run. To go on with it, or to repeat it elsewhere:\n")
            file.write("#   python train.py --flagfile=THIS_FILE\n")
            file.write("#   python train.py --flagfile=THIS_FILE --run_dir=ANOTHER_FOLDER\n")
            file.write(self.to_flagfile())


@dataclasses.dataclass(frozen=True)
class EvaluationConfig(_Config):
    """Settings of evaluate.py."""

    run_dir: str = _flag("", "Folder of the run to evaluate.", required=True)
    data_dir: str = _flag(
        "", "Labelled images to train the probes on; default: the images of the run."
    )
    test_dir: str = _flag(
        "", "Labelled images to test on; default: --test_fraction of the images of --data_dir."
    )
    test_fraction: float = _flag(0.2, "Part of each class to test on without a --test_dir.")
    baseline: str = _flag(
        "random",
        "Networks to compare with, separated by commas: random (the one that the run started "
        "from), pixels (no network: the centre crops as they are), supervised (the same network "
        "trained with the labels). Empty: none.",
    )
    max_images: int = _flag(
        20000,
        "Use at most this many images for probes, k-NN and cluster quality, drawn at random.",
    )
    batch_size: int = _flag(256, "Images in a step of feature extraction.")
    strategy: str = _flag("auto", "As for train.py.", choices=STRATEGIES)
    virtual_devices: int = _flag(0, "As for train.py.")

    def baselines(self) -> tuple[str, ...]:
        """The baselines asked for, in order."""
        return tuple(name.strip() for name in self.baseline.split(",") if name.strip())

    def problems(self) -> list[str]:
        found = []
        for name in self.baselines():
            if name not in BASELINES:
                found.append(
                    f"Unknown baseline. Received: --baseline={name}. "
                    f"Expected some of: {', '.join(BASELINES)}."
                )
        if not 0 < self.test_fraction < 1:
            found.append(
                f"Invalid --test_fraction. Received: {self.test_fraction}. "
                "Expected a fraction in (0, 1)."
            )
        for name in ("max_images", "batch_size"):
            if getattr(self, name) < 1:
                found.append(f"Invalid --{name}. Received: {getattr(self, name)}. Expected >= 1.")
        return found


@dataclasses.dataclass(frozen=True)
class ExportConfig(_Config):
    """Settings of `python -m dc_keras.serving.export`."""

    run_dir: str = _flag("", "Folder of the run to export.", required=True)
    out: str = _flag("", "Folder for the model; it gets a sub-folder 1, 2, ...", required=True)


@dataclasses.dataclass(frozen=True)
class AssignConfig(_Config):
    """Settings of `python -m dc_keras.serving.assign`."""

    run_dir: str = _flag("", "Folder of a finished run.", required=True)
    data_dir: str = _flag("", "Images to assign to the run's clusters.", required=True)
    out: str = _flag("", "CSV file to write: path, cluster, distance.", required=True)
    max_bad_fraction: float = _flag(0.01, "As for train.py.")
    batch_size: int = _flag(256, "Images in a step of feature extraction.")


@dataclasses.dataclass(frozen=True)
class TorchWeightsConfig(_Config):
    """Settings of `python -m dc_keras.models.torch_weights`."""

    source: str = _argument("IN", "A PyTorch checkpoint, or the folder of a run.")
    out: str = _argument("OUT", "The folder of a run to make, or a PyTorch file to write.")
    image_size: int = _flag(
        0,
        "Side of the network's input in pixels, where IN is a PyTorch file; 0 is the multiple of "
        "32 that its weights tell, 224 for the published ones.",
    )

    def problems(self) -> list[str]:
        if self.image_size == 0 or self.image_size >= 32:
            return []
        return [
            f"Invalid --image_size. Received: {self.image_size}. Expected at least 32, or 0 to "
            "take what the weights tell."
        ]


@dataclasses.dataclass(frozen=True)
class PackConfig(_Config):
    """Settings of `python -m dc_keras.data.pack`."""

    source: str = _argument(
        "IN", "Images, as in train.py's --data_dir; with --verify: a packed folder."
    )
    out: str = _argument("OUT", "The folder to make.")
    verify: bool = _flag(
        False, "Compare the images of IN, a packed folder, with their checksums; write nothing."
    )
    short_side: int = _flag(
        0, "Shorter side in pixels that larger images are reduced to; 0: leave all as they are."
    )
    shard_images: int = _flag(10_000, "Images in a file.")
    max_bad_fraction: float = _flag(0.01, "As for train.py.")

    def missing(self) -> list[str]:
        return [name for name in super().missing() if not (self.verify and name == "OUT")]

    def problems(self) -> list[str]:
        found = []
        if self.verify and self.out:
            found.append(
                f"OUT would be ignored, since --verify writes nothing. Received: {self.out}. "
                "Leave it out."
            )
        if self.short_side < 0:
            found.append(f"Invalid --short_side. Received: {self.short_side}. Expected >= 0.")
        if self.shard_images < 1:
            found.append(f"Invalid --shard_images. Received: {self.shard_images}. Expected >= 1.")
        return found


def batch_not_divisible(batch_size: int, replicas: int, views: int) -> str:
    """The message for a global batch that cannot be shared out evenly."""
    share = replicas * views
    lower = max(1, batch_size // share) * share
    each = f" with {views} crops of each image" if views > 1 else ""
    return (
        f"The batch cannot be shared out evenly. Received: --batch_size={batch_size} for "
        f"{replicas} {'replicas' if replicas > 1 else 'replica'}{each}. Expected a multiple of "
        f"{share}, such as {lower}."
    )


def parser(config_class: type[_Config]) -> Callable[[Sequence[str]], _Config]:
    """Makes the `flags_parser` of `absl.app.run` for one program.

    Bad flags are printed and end the program with code 2. `--only_check_flags` checks what was
    given, without asking for the flags that only a run needs, and ends it with code 0.

    Args:
        config_class: Such as `TrainingConfig`.

    Returns:
        A function from the command line to a validated config.
    """
    config_class.define_flags(flags.FLAGS)

    def parse(argv: Sequence[str]) -> _Config:
        # Paths need not be UTF-8 to be printed.
        sys.stdout.reconfigure(errors="backslashreplace")
        # absl's own --only_check_flags would end the program before values are checked.
        only_check = "--only_check_flags" in argv
        argv = [argument for argument in argv if argument != "--only_check_flags"]
        try:
            config = config_class._parse(flags.FLAGS, argv)
            if only_check:
                if problems := config.problems():
                    raise InputError("\n".join(problems))
                print("All flags are valid.")
                sys.exit(0)
            config.validate()
        except InputError as error:
            exit_with_input_error(error)
        return config

    return parse


def exit_with_input_error(error: InputError) -> None:
    """Prints an error that the user can mend and ends the program with code 2."""
    program = pathlib.Path(sys.argv[0]).name
    print(f"{program}: {error}", file=sys.stderr)
    sys.exit(2)
