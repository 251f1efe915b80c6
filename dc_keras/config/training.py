"""Settings of the training: every flag of train.py, and the rules between them."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from absl import flags

from dc_keras.config.flags import Config, flag
from dc_keras.config.images import FITS, max_pixels_flag, value_range_flag, wrong_value_range
from dc_keras.errors import InputError
from dc_keras.files import write_atomically
from dc_keras.machine import MULTI_WORKER, PRECISIONS, STRATEGIES, XLA
from dc_keras.paths import absolute, is_remote

FC_INITS = ("published", "scaled")
CLUSTERINGS = ("kmeans", "pic")
SAMPLERS = ("uniform", "natural", "reweight", "released")
ARCHITECTURES = ("vgg16", "alexnet", "compact")
# What the side of the input must be a multiple of; alexnet takes all from 63 pixels on.
STRIDES = {"vgg16": 32, "compact": 8}
CACHES = ("auto", "ram", "disk", "off")
ON_COLLAPSE = ("warn", "stop")
HEADS = ("linear", "cosine")
HEAD_STARTS = ("redrawn", "centroids")
LEARNING_RATE_SCHEDULES = ("constant", "cosine")
OPTIMIZERS = ("sgd", "muon")

# What `--mode` sets where the flags themselves are not given. The defaults are the paper's.
MODES: dict[str, dict[str, Any]] = {
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
        "kmeans_starts": 10,
        "fit": "crop_large",
    },
}

# What `--choose=all` chooses where it is not given, in the order in which it is told.
CHOOSABLE = (
    "mode",
    "arch",
    "image_size",
    "width",
    "whitened_patches",
    "fit",
    "crop_scale",
    "crop_min_area",
    "hflip",
    "color_jitter",
    "grayscale",
    "instance_temperature",
    "num_clusters",
    "pca_dim",
    "whiten",
    "diffusion_neighbours",
    "reassign",
    "epochs",
    "batch_size",
    "instance_views",
    "optimizer",
    "learning_rate",
    "learning_rate_schedule",
    "weight_decay",
    "precision",
)
ALL = "all"


@dataclasses.dataclass(frozen=True)
class TrainingConfig(Config):
    """Settings of train.py. The defaults are the paper's, for ImageNet and VGG16."""

    REMOVED: ClassVar[dict[str, str]] = {
        "instances_first": "0.0",
        "kmeans_early_stop": "0.0",
        "kmeans_init": "random",
        "kmeans_nredo": "1",
        "kmeans_warm_start": "false",
        "projection": "0",
        "reassign_churn": "0.0",
    }
    # What runs of older versions did, whose flagfiles do not name these.
    ADDED: ClassVar[tuple[str, ...]] = ("--fit=crop_large",)

    mode: str = flag(
        "paper",
        "Presets for flags that are not given. paper: the published method, which is what all "
        "other defaults are; released: with the public code's draws of images and number of "
        "epochs; improved: what was found to learn better, see docs/method.md.",
        choices=tuple(MODES),
        may_change=True,
    )

    choose: str = flag(
        "",
        "Flags to choose from the images, the machine and --hours when a run begins, each told "
        "with its reason. all: those that are not given, of " + ", ".join(CHOOSABLE) + "; or some "
        "of these by name, separated by commas, whatever a preset gives.",
        may_change=True,
    )
    hours: float = flag(
        1.0, "Time that a run with --choose may take, about.", above=0, may_change=True
    )

    # Files.
    data_dir: str = flag(
        "",
        "Images to learn from: a folder (class sub-folders or flat, nested), an .npz file with an "
        "array `images` uint8 (n, h, w, 1 or 3), a pattern of images such as /data/*/left_*.jpg, a "
        ".txt or .csv list of them, TFRecord shards (their folder, or a pattern such as "
        "/data/train-*-of-*), a packed folder (dc-keras pack), tfds:NAME (TensorFlow "
        "Datasets), or sklearn:digits. Paths may be those of tf.io.gfile, such as gs://. Labels "
        "are never trained on.",
        required=True,
    )
    labels: str = flag(
        "",
        "Classes of the images, for figures alone. Not given: the sub-folders where all images lie "
        "in some, or what the data set says; folders: the sub-folders, and images outside are left "
        "out; none; or a CSV file with the columns path (below --data_dir) and label.",
        may_change=True,
    )
    run_dir: str = flag(
        "",
        "Folder for everything the run writes; made when absent.",
        required=True,
        may_change=True,
    )
    backup_dir: str = flag(
        "",
        "Folder for a copy of --run_dir, written after each checkpoint: on another disk, or of "
        "tf.io.gfile, such as gs://BUCKET/RUN. Where --run_dir does not exist, it is brought from "
        "there, so that a run goes on on another machine.",
        may_change=True,
    )
    dry_run: bool = flag(
        False,
        "Say how much time, memory and disk the run would take, from a few steps; write nothing.",
        may_change=True,
    )
    resume: str = flag(
        "auto",
        "auto: go on from the newest checkpoint of --run_dir, if it has one; never: refuse a "
        "--run_dir that holds a run; PATH: start from that checkpoint folder, and drop what the "
        "run did after it.",
        may_change=True,
    )
    gallery: bool = flag(
        False,
        "Make RUN/gallery at the end, a page that shows the clusters: see dc-keras gallery.",
        may_change=True,
    )
    keep_checkpoints: int = flag(
        3, "Number of newest checkpoints to keep.", at_least=1, may_change=True
    )
    checkpoint_every_steps: int = flag(
        0,
        "Save also after every so many training steps of an epoch; 0: at its end alone.",
        at_least=0,
        may_change=True,
    )
    checkpoint_every_minutes: float = flag(
        0.0,
        "Save also when so many minutes have passed since the last time; 0: do not.",
        at_least=0,
        may_change=True,
    )
    max_bad_fraction: float = flag(
        0.01,
        "Stop when more than this fraction of the image files cannot be read, at the start or "
        "during the run; others stand in for images that vanish meanwhile.",
        at_least=0,
        below=1,
        may_change=True,
    )

    cache: str = flag(
        "auto",
        "Decoded images. auto: held in memory when they take at most a quarter of what is free, "
        "but not with --deterministic, since crops of JPEGs come out a little different at their "
        "edges; ram: held in memory; disk: held in a file in --run_dir that ends with the process, "
        "when they take at most half of the free disk; off: read from their files each time.",
        choices=CACHES,
        may_change=True,
    )

    # Images.
    image_size: int = flag(
        224,
        "Side of the network's input in pixels: a multiple of 32 for vgg16, of 8 for compact, at "
        "least 63 for alexnet.",
    )
    fit: str = flag(
        "crop",
        "How an image becomes a square, in training as in use. crop: its centre, as published 7/8 "
        "of the shorter side, in training random parts that are nearly square; crop_large: the "
        "same, but of images no larger than --image_size all of the shorter side; squash: all of "
        "it, resized to a square; pad: all of it in its shape, with grey beside it.",
        choices=FITS,
    )
    value_range: str = value_range_flag(
        "what is found in up to 256 of them, and kept in the run's flags"
    )
    max_pixels: int = max_pixels_flag()
    crop_min_area: float = flag(
        0.08,
        "Smallest area of a random training crop, as a fraction of the image.",
        above=0,
        at_most=1,
    )
    crop_scale: float = flag(
        1.0,
        "Side of random training crops as a part of --image_size, rounded to a multiple of 8; less "
        "than 1 with --arch=compact alone. Crops show things larger than whole images do: at 0.75 "
        "they are about as large as in use, and training takes half of the time.",
        above=0,
        at_most=1,
    )
    hflip: bool = flag(True, "Mirror half of the training images left to right.")
    color_jitter: float = flag(
        0.0,
        "Strength of random changes of brightness, contrast, saturation and hue of training "
        "images; 1 is usual, 0 is off.",
        at_least=0,
        at_most=2.5,
    )
    grayscale: float = flag(
        0.0, "Part of the training images that lose all colour.", at_least=0, at_most=1
    )

    # Network.
    arch: str = flag(
        "vgg16",
        "vgg16 or alexnet, both with batch norm, as published; compact: for images up to about 100 "
        "pixels, with fewer poolings and no fully connected layers but a projection behind the "
        "features.",
        choices=ARCHITECTURES,
    )
    sobel: bool = flag(True, "Show the network image gradients instead of colours.")
    whitened_patches: int = flag(
        0,
        "Side of the patches, such as 3, that a fixed first layer whitens: it looks along their "
        "principal directions, found in the images when the run begins. Needs --sobel=false; of "
        "--arch=compact it is the first convolution. 0: no such layer.",
        at_least=0,
        at_most=11,
    )
    width: float = flag(
        1.0,
        "Multiplies the number of channels and units; 1 is published.",
        at_least=1 / 64,
        at_most=4,
    )
    dropout: float = flag(
        0.5,
        "Dropout rate before the last fully connected layer; of alexnet before both.",
        at_least=0,
        below=1,
    )
    fc_init: str = flag(
        "published",
        "Initial weights of the fully connected layers. published: N(0, 0.01); scaled: N(0, s) "
        "with s such that a narrow network, or one for small images, passes on as much signal as "
        "the published network at 224 pixels does with 0.01.",
        choices=FC_INITS,
    )

    init_from: str = flag(
        "",
        "Start from weights that were trained before, and not from random ones: a run's folder, a "
        ".keras file such as RUN/model/network.keras, or a checkpoint of PyTorch (.pth, .tar, "
        ".pt). Convolutions must fit, fully connected layers are taken where they fit, the head is "
        "new. Read when a run begins, not when it goes on.",
    )

    fc_norm: bool = flag(
        False, "Batch norm behind fully connected layers; features are taken behind it."
    )
    head: str = flag(
        "linear",
        "linear: a linear classifier of the clusters, as published; cosine: cosine similarities "
        "of features and one row a cluster, over --temperature.",
        choices=HEADS,
    )
    temperature: float = flag(0.1, "Divides the similarities of --head=cosine.", above=0)
    head_start: str = flag(
        "redrawn",
        "Weights of the head after each clustering. redrawn: random, as published; "
        "centroids: the clusters' centres.",
        choices=HEAD_STARTS,
    )

    instance_weight: float = flag(
        0.0,
        "Part of the loss that is telling images from each other, not clusters: each image that is "
        "drawn gives some crops, and each must find the others among the batch. 0: none, as "
        "published.",
        at_least=0,
        below=1,
    )
    instance_temperature: float = flag(
        0.2, "Divides the similarities of crops with --instance_weight.", above=0
    )
    instance_views: int = flag(
        2, "Crops of each image in a batch, with --instance_weight.", at_least=2
    )

    # Clustering.
    clustering: str = flag(
        "kmeans",
        "kmeans; or pic: power iteration clustering on the graph of nearest neighbours, which "
        "finds the number of clusters by itself.",
        choices=CLUSTERINGS,
    )
    num_clusters: int = flag(
        10000,
        "Number of clusters of k-means, and outputs of the head. With --clustering=pic, the "
        "largest number: the smallest clusters beyond it are merged into others.",
        at_least=2,
    )
    reassign: float = flag(
        1.0,
        "Epochs between two clusterings. Below 1 an epoch is cut into turns of that length; "
        "above 1 pseudo-labels and head stay for several epochs.",
        above=0,
    )
    pca_dim: int = flag(256, "Dimensions of the descriptors after PCA and whitening.", at_least=1)
    whiten: bool = flag(
        True,
        "Scale the directions that PCA finds to equal variance. Without, k-means weighs them as "
        "the head sees them.",
    )
    pca_images: int = flag(
        32768,
        "Number of random images on whose features PCA is fitted; all when there are fewer. "
        "Their features are held in memory: 16 kB an image at width 1.",
    )
    diffusion_neighbours: int = flag(
        0,
        "Before k-means, draw the descriptors of images towards those of so many nearest images, "
        "at most half of a cluster's: clusters then follow chains of neighbours. 0: k-means alone.",
        at_least=0,
    )
    final_clusters: int = flag(
        0,
        "Number of clusters of RUN/model, which people see, by k-means; 0: as in the training. May "
        "be changed when a run is complete: its images are clustered anew, nothing is trained.",
        at_least=0,
        may_change=True,
    )
    kmeans_iterations: int = flag(20, "Iterations of k-means, at most.", at_least=1)
    kmeans_spherical: bool = flag(
        False, "Scale the centroids of k-means to unit length in each iteration."
    )
    kmeans_starts: int = flag(
        1,
        "Random starts of k-means, of which the one with the lowest objective counts, as long as "
        "they come to at most 200 clusters in all; with more clusters, fewer starts.",
        at_least=1,
    )
    kmeans_max_points: int = flag(
        0,
        "Learn the centroids of k-means from a random sample of at most this many images a "
        "cluster; 0: from all images.",
        at_least=0,
    )
    kmeans_two_level_from: int = flag(
        50000,
        "From this --num_clusters on, k-means finds coarse clusters first and the others within "
        "each; 0: never.",
    )

    # Sampling.
    sampler: str = flag(
        "uniform",
        "Images of an epoch. uniform: every cluster as often as any other, as published; "
        "natural: every image once; "
        "reweight: every image once, its loss weighted by the inverse of its cluster's size; "
        "released: what the public code does, close to natural.",
        choices=SAMPLERS,
    )

    # Optimisation.
    epochs: int = flag(
        500,
        "Passes over the data set; one pass sees as many images as it has.",
        at_least=1,
        may_change=True,
    )
    batch_size: int = flag(
        256, "Images in a training step, over all replicas together.", at_least=1
    )
    optimizer: str = flag(
        "sgd",
        "Of the backbone. sgd: as published; muon: each step turns all directions of a layer alike "
        "and keeps its norm, so that fewer steps teach as much. Its learning rate is the step's "
        "length relative to a layer's weights.",
        choices=OPTIMIZERS,
    )
    learning_rate: float = flag(0.05, "Learning rate of both optimizers.", above=0)
    learning_rate_schedule: str = flag(
        "constant",
        "constant, as published; cosine: falls to 0 over all --epochs.",
        choices=LEARNING_RATE_SCHEDULES,
    )
    momentum: float = flag(
        0.9, "Momentum of the backbone's optimizer; the head's has none.", at_least=0, below=1
    )
    weight_decay: float = flag(
        1e-5,
        "Coupled L2 weight decay, on all trained weights; with muon on biases and batch norm.",
        at_least=0,
        below=1,
    )

    # What to do when it goes wrong.
    max_cluster_fraction: float = flag(
        0.3,
        "Largest part of the images that one cluster may hold without a warning of collapse.",
        above=0,
        at_most=1,
        may_change=True,
    )
    on_collapse: str = flag(
        "warn",
        "When features or clusters collapse. warn: say so, once for each sign of it, and go on; "
        "stop: end the run, whose checkpoints stay. A loss that is not finite always ends it.",
        choices=ON_COLLAPSE,
        may_change=True,
    )

    # Machine.
    seed: int = flag(31, "Every random draw of the run derives from it.", at_least=0)
    deterministic: bool = flag(
        False,
        "Let TensorFlow compute in a fixed order, so that a run repeats bit for bit on the same "
        "machine. Slower.",
    )
    precision: str = flag(
        "float32",
        "What the network computes in. mixed_bfloat16: about half the time on processors and GPUs "
        "with bfloat16 units; mixed_float16: for older GPUs, with a loss scale that finds itself. "
        "Weights, logits, loss and clustering are float32 in all of them.",
        choices=PRECISIONS,
    )
    xla: str = flag(
        "auto",
        "Whether XLA compiles training steps and extraction. auto: on one NVIDIA GPU (compute "
        "capability 7 to 9), from 10,000 steps on and without --deterministic; it takes a minute "
        "at the first step, and then about a third of the time. On CPUs it is slower.",
        choices=XLA,
        may_change=True,
    )
    strategy: str = flag(
        "auto",
        "one: a single device; mirrored: every GPU (or virtual device), or the processor where "
        "there is none; auto: mirrored from two GPUs (or virtual devices) on, else one; "
        "multi_worker: all GPUs of all machines that TF_CONFIG names, see docs/scaling.md.",
        choices=(*STRATEGIES, MULTI_WORKER),
        may_change=True,
    )
    virtual_devices: int = flag(
        0,
        "Split the first GPU (or the CPU, where there is none) into this many devices, to try "
        "--strategy=mirrored; 0 is off.",
        may_change=True,
    )

    @classmethod
    def parse(cls, flag_values: flags.FlagValues, argv: Sequence[str]) -> Self:
        """Parses a command line; see `Config.parse`.

        The flagfile of a run, RUN/flags.cfg, is that of the run in its folder, wherever that was
        when it was written, and goes on with it, whatever the run began with. A --run_dir on the
        command line counts in its place, without the --backup_dir of the run.

        Raises:
            InputError: Also if the flagfile of a run was cut off.
        """
        flagfiles = map(os.path.expanduser, _on_command_line(argv[1:], "flagfile"))
        own = [path for path in flagfiles if _is_of_a_run(path)]
        for path in own:
            cls.check_whole(path)
        config = super().parse(flag_values, [argv[0], *(cls.ADDED if own else ()), *argv[1:]])
        if not own:
            return config
        changes: dict[str, Any] = {}
        if elsewhere := _on_command_line(argv[1:], "run_dir"):
            if not _on_command_line(argv[1:], "backup_dir"):
                # The copy is that of the run that the flagfile is of.
                changes["backup_dir"] = ""
            changes["run_dir"] = os.path.expanduser(elsewhere[-1])
            return dataclasses.replace(config, **changes)
        if not _on_command_line(argv[1:], "resume"):
            changes["resume"] = "auto"
        folder = os.path.dirname(own[-1]) or "."
        if not (os.path.isdir(config.run_dir) and os.path.samefile(config.run_dir, folder)):
            changes["run_dir"] = folder
        return dataclasses.replace(config, **changes)

    @classmethod
    def completed(cls, values: dict[str, Any], given: frozenset[str]) -> dict[str, Any]:
        """Sets what the mode says; of `--choose=all` the names of flags that are not given stay."""
        changes: dict[str, Any] = {}
        if values["choose"] == ALL:
            changes["choose"] = ",".join(name for name in CHOOSABLE if name not in given)
        chosen = changes.get("choose", values["choose"]).split(",")
        if "mode" in chosen:
            changes["mode"] = "improved"
        mode = MODES[changes.get("mode", values["mode"])]
        if chosen != [""] and values["clustering"] == "pic":
            # It has neither centres nor iterations of k-means.
            mode = {n: v for n, v in mode.items() if n != "head_start" and n[:7] != "kmeans_"}
        return values | {name: mode[name] for name in mode.keys() - given} | changes

    @property
    def to_choose(self) -> frozenset[str]:
        """Names of the flags that wait to be chosen; none once a run has begun."""
        return frozenset(filter(None, self.choose.split(",")))

    def had_no_effect(self, name: str, value: str) -> bool:
        # Its default was 0.3, of epochs that learn from --instance_weight alone.
        unused = name == "instances_first" and not self.instance_weight
        return unused or super().had_no_effect(name, value)

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
        return self.instance_views if self.instance_weight else 1

    @property
    def crop_size(self) -> int:
        """Side of the training crops in pixels."""
        if self.crop_scale == 1:
            return self.image_size
        return nearest_multiple(self.crop_scale * self.image_size, STRIDES["compact"])

    def conflicts(self) -> list[str]:
        return [
            *self._wrong_choose(),
            *wrong_labels(self.labels),
            *wrong_value_range(self.value_range),
            *self._wrong_sizes(),
            *self._contradictory_devices(),
            *self._without_effect(),
            *self._wrong_backup(),
        ]

    def _wrong_choose(self) -> list[str]:
        """What cannot be chosen, and a time for nothing to choose."""
        names = ", ".join(CHOOSABLE)
        found = [
            f"There is no such flag to choose. Received: --choose={name}. Expected {ALL}, or some "
            f"of: {names}."
            for name in sorted(self.to_choose.difference(CHOOSABLE))
        ]
        if not self.choose and self.changed("hours"):
            found.append(
                f"There is nothing to choose for a time. Received: --hours={self.hours:g} without "
                f"--choose. Leave it out, or use --preset=auto, or --choose with some of: {names}."
            )
        return found

    def _wrong_backup(self) -> list[str]:
        """A copy of the run within the run, or around it."""
        if not self.backup_dir or is_remote(self.backup_dir):
            return []
        run, copy = (pathlib.Path(os.path.abspath(p)) for p in (self.run_dir, self.backup_dir))
        if run != copy and run not in copy.parents and copy not in run.parents:
            return []
        return [
            "A copy of the run cannot lie in its folder, or around it. Received: "
            f"--backup_dir={self.backup_dir} with --run_dir={self.run_dir}. Expected another disk, "
            "or a place such as gs://BUCKET/RUN."
        ]

    def _wrong_sizes(self) -> list[str]:
        """Numbers that are too small or too large for other flags, without those to be chosen."""
        found = []

        def expect(holds: bool, name: str, expected: str) -> None:
            if not holds:
                value = getattr(self, name)
                found.append(f"Invalid --{name}. Received: {value}. Expected {expected}.")

        if self.arch == "alexnet":
            # Smaller images would leave nothing after the last pooling.
            expect(self.image_size >= 63, "image_size", "at least 63 for --arch=alexnet")
        else:
            step = STRIDES[self.arch]
            nearest = nearest_multiple(self.image_size, step)
            expected = f"a multiple of {step}, such as {nearest}"
            expect(self.image_size == nearest, "image_size", expected)
        expect(
            self.whitened_patches == 0 or self.whitened_patches % 2 == 1,
            "whitened_patches",
            "0 or an odd number, such as 3",
        )
        expect(
            self.crop_scale == 1 or self.arch == "compact",
            "crop_scale",
            "1, as other networks than --arch=compact take crops of --image_size alone",
        )
        expect(
            "pca_dim" in self.to_choose or self.pca_images > self.pca_dim,
            "pca_images",
            f"more images than --pca_dim={self.pca_dim}, or PCA has too few to be fitted on",
        )
        expect(
            self.kmeans_two_level_from == 0 or self.kmeans_two_level_from >= 4,
            "kmeans_two_level_from",
            "0 (never) or at least 4 clusters",
        )
        expect(
            not self.to_choose.isdisjoint(("epochs", "reassign")) or self.reassign <= self.epochs,
            "reassign",
            f"at most --epochs={self.epochs}, or the clustering would never be renewed",
        )
        return found

    def _contradictory_devices(self) -> list[str]:
        """Devices that cannot be had, or that a batch cannot be shared out among."""
        found = []
        if self.virtual_devices < 0 or self.virtual_devices == 1:
            found.append(
                f"Invalid --virtual_devices. Received: {self.virtual_devices}. Expected 0 (off) or "
                "at least 2."
            )
        if self.virtual_devices and self.strategy == "one":
            found.append(
                "Contradictory flags. Received: --virtual_devices="
                f"{self.virtual_devices} with --strategy=one, which would use only the first. "
                "Use --strategy=mirrored or leave --virtual_devices out."
            )
        if self.virtual_devices and self.strategy == MULTI_WORKER:
            found.append(
                "Each of several workers has the devices of its machine. Received: "
                f"--virtual_devices={self.virtual_devices} with --strategy={MULTI_WORKER}. Leave "
                "one of them out."
            )
        if self.dry_run and self.strategy == MULTI_WORKER:
            found.append(
                f"Nothing is tried on several machines. Received: --dry_run with "
                f"--strategy={MULTI_WORKER}. Leave --strategy out to hear of one of them."
            )
        if self.deterministic and self.xla == "on":
            found.append(
                "Steps that XLA compiles do not repeat bit for bit on GPUs. Received: --xla=on "
                "with --deterministic. Leave one of them out."
            )
        replicas = max(1, self.virtual_devices)
        is_given = "batch_size" not in self.to_choose
        if is_given and self.batch_size % (replicas * self.views):
            found.append(batch_not_divisible(self.batch_size, replicas, self.views))
        return found

    def _without_effect(self) -> list[str]:
        """Flags that other flags would leave without effect."""
        found = []
        changed = {
            field.name: (getattr(self, field.name), field.default)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }
        if self.sobel and self.whitened_patches:
            found.append(
                "Patches are whitened with their colours, which Sobel filters take away. Received: "
                f"--whitened_patches={self.whitened_patches} with --sobel=true. Add --sobel=false."
            )
        if self.head == "linear" and "temperature" in changed:
            found.append(
                "A linear head has no temperature. Received: --temperature="
                f"{self.temperature} with --head=linear. Leave it out, or use --head=cosine."
            )
        if not self.instance_weight:
            found.extend(
                f"Images are not told from each other. Received: --{name}={changed[name][0]} "
                "without --instance_weight. Leave it out, or give both."
                for name in ("instance_temperature", "instance_views")
                if name in changed
            )
        if self.clustering == "pic" and "head_start" in changed:
            found.append(
                "Only k-means has cells around its centres, which a head can start from. Received: "
                f"--head_start={self.head_start} with --clustering=pic. Expected its default, "
                f"{changed['head_start'][1]}."
            )
        if self.clustering == "pic" and not self.final_clusters:
            found.extend(
                f"Flags of k-means have no effect. Received: --{name}={value} with "
                f"--clustering=pic. Expected its default, {default}."
                for name, (value, default) in changed.items()
                if name.startswith("kmeans_") or name == "diffusion_neighbours"
            )
        return found

    def differences(self, other: Self) -> dict[str, tuple[Any, Any]]:
        """Flags that make another run of it: name -> (this value, the other's)."""
        may_change = {f.name for f in dataclasses.fields(self) if f.metadata["may_change"]}
        if self.learning_rate_schedule != "constant":
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
        changes: dict[str, Any] = {"run_dir": os.path.abspath(self.run_dir)}
        if not self.data_dir.startswith(("sklearn:", "tfds:")):
            changes["data_dir"] = absolute(self.data_dir)
        if self.labels.lower().endswith(".csv"):
            changes["labels"] = absolute(self.labels)
        if self.backup_dir:
            changes["backup_dir"] = absolute(self.backup_dir)
        if self.init_from:
            changes["init_from"] = os.path.abspath(self.init_from)
        if self.resume not in ("auto", "never"):
            changes["resume"] = os.path.abspath(self.resume)
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
            file.write(f"# The {len(dataclasses.fields(self))} settings of this run. ")
            file.write("To go on with it, or to repeat it elsewhere:\n")
            file.write("#   python train.py --flagfile=THIS_FILE\n")
            file.write("#   python train.py --flagfile=THIS_FILE --run_dir=ANOTHER_FOLDER\n")
            file.write(self.to_flagfile())

    @staticmethod
    def check_whole(path: str | os.PathLike) -> None:
        """Checks that the flagfile of a run was not cut off: missing flags would have defaults.

        Those of older versions do not tell how many there are; that one has none is noticed.

        Raises:
            InputError: If it was.
        """
        text = pathlib.Path(path).read_text(encoding="utf-8", errors="replace")
        found = sum(line.startswith("--") for line in text.splitlines())
        told = re.match(r"# The (\d+) settings of this run", text)
        if not found or (told and (found < int(told[1]) or not text.endswith("\n"))):
            raise InputError(
                f"The settings of the run are cut off. Received: {path} with {found} whole lines "
                f"of flags or fewer. Expected {told[1] if told else 'some'}, as train.py wrote "
                "them. Bring the file back from a backup, or start a new --run_dir."
            )


def _on_command_line(arguments: Sequence[str], name: str) -> list[str]:
    """Values that a flag is given on the command line itself, and not in a flagfile."""
    values, rest = [], iter(arguments)
    for text in rest:
        if given := re.fullmatch(rf"--?{name}(=.*)?", text, re.DOTALL):
            values.append(given[1][1:] if given[1] else next(rest, ""))
    return values


def _is_of_a_run(path: str) -> bool:
    """Whether a flagfile is the one that a run wrote into its folder."""
    beside = ("manifest.csv", "checkpoints", "model")
    folder, name = os.path.split(path)
    return name == "flags.cfg" and any(os.path.exists(os.path.join(folder, x)) for x in beside)


def nearest_multiple(size: float, step: int) -> int:
    """The multiple of a step that is nearest to a size, and at least the step."""
    return max(step, round(size / step) * step)


def wrong_labels(labels: str) -> list[str]:
    """What is wrong with a --labels, a message or none."""
    if labels in ("", "folders", "none") or labels.lower().endswith(".csv"):
        return []
    return [
        f"Invalid --labels. Received: {labels}. Expected folders, none, or a .csv file with the "
        "columns path and label."
    ]


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
