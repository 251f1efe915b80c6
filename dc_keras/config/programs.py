"""Settings of the programs around the training.

export, serve-check, assign, pack and convert; gallery, apply, table, duplicates and sort.
"""

import dataclasses
from typing import ClassVar

from dc_keras.config.flags import Config, argument, flag, listed
from dc_keras.config.images import max_pixels_flag, value_range_flag, wrong_value_range


@dataclasses.dataclass(frozen=True)
class ExportConfig(Config):
    """Settings of `dc-keras export`."""

    run_dir: str = flag("", "Folder of the run to export.", required=True)
    out: str = flag("", "Folder for the model; it gets a sub-folder 1, 2, ...", required=True)
    layers: str = flag(
        "",
        "Layers whose outputs get a signature of their own, separated by commas: names such as "
        "conv3_3, relu5_3 or fc6.",
    )
    onnx: bool = flag(
        False, "Also write model.onnx, from pixels on. Needs requirements-serving.txt."
    )

    def layer_names(self) -> tuple[str, ...]:
        """The layers asked for, in order, each once."""
        return listed(self.layers)


@dataclasses.dataclass(frozen=True)
class ServeCheckConfig(Config):
    """Settings of `dc-keras serve-check`."""

    model: str = argument("MODEL", "The folder that dc-keras export wrote, or a version in it.")
    run_dir: str = flag("", "Its run; default: the one that it was exported from.")


@dataclasses.dataclass(frozen=True)
class AssignConfig(Config):
    """Settings of `dc-keras assign`."""

    REMOVED: ClassVar[dict[str, str]] = {"batch_size": "256"}

    run_dir: str = flag("", "Folder of a finished run.", required=True)
    data_dir: str = flag("", "Images to assign to the run's clusters.", required=True)
    out: str = flag("", "CSV file to write, with a line for each image.", required=True)
    embeddings: str = flag(
        "", "Features of these images, for a run of dc-keras cluster --embeddings, as there."
    )
    paths: str = flag("", "The images of the rows of --embeddings, as for dc-keras cluster.")
    max_bad_fraction: float = flag(0.01, "As for train.py.", at_least=0, below=1)
    value_range: str = value_range_flag("the run's, or what is found in them where it has none")
    max_pixels: int = max_pixels_flag(0, " 0: as many as the run allows.")

    def conflicts(self) -> list[str]:
        found = wrong_value_range(self.value_range)
        unused = ["max_bad_fraction", "value_range", "max_pixels"] if self.embeddings else ["paths"]
        if changed := self.changed(*unused):
            found.append(
                f"These have no effect {'with' if self.embeddings else 'without'} --embeddings. "
                f"Received: {', '.join(f'--{name}={getattr(self, name)}' for name in changed)}. "
                "Leave them out."
            )
        return found

    def had_no_effect(self, name: str, value: str) -> bool:
        # It made no difference to the result, and steps have sizes of their own now.
        return name == "batch_size" or super().had_no_effect(name, value)


@dataclasses.dataclass(frozen=True)
class GalleryConfig(Config):
    """Settings of `dc-keras gallery`."""

    run_dir: str = flag("", "Folder of a finished run.", required=True)
    out: str = flag("", "Folder to make; default: gallery in --run_dir.")


@dataclasses.dataclass(frozen=True)
class ApplyConfig(Config):
    """Settings of `dc-keras apply`."""

    labels: str = argument("LABELS", "A file of labels that was downloaded from a gallery.")
    run_dir: str = flag("", "Folder of the gallery's run.", required=True)
    out: str = flag("", "Folder for groups.csv; default: --run_dir.")
    undo: bool = flag(False, "Take back what was applied.")

    def missing(self) -> list[str]:
        return [name for name in super().missing() if not (self.undo and name == "LABELS")]

    def conflicts(self) -> list[str]:
        if not (self.undo and self.labels):
            return []
        return [
            f"LABELS would be ignored, since --undo needs none. Received: {self.labels}. "
            "Leave it out."
        ]


@dataclasses.dataclass(frozen=True)
class ConvertConfig(Config):
    """Settings of `dc-keras convert`."""

    source: str = argument("IN", "A PyTorch checkpoint, or the folder of a run.")
    out: str = argument("OUT", "The folder of a run to make, or a PyTorch file to write.")
    image_size: int = flag(
        0,
        "Side of the network's input in pixels, where IN is a PyTorch file; 0 is the multiple of "
        "32 that its weights tell, 224 for the published ones.",
    )

    def conflicts(self) -> list[str]:
        if self.image_size == 0 or self.image_size >= 32:
            return []
        return [
            f"Invalid --image_size. Received: {self.image_size}. Expected at least 32, or 0 to "
            "take what the weights tell."
        ]


@dataclasses.dataclass(frozen=True)
class PackConfig(Config):
    """Settings of `dc-keras pack`."""

    source: str = argument(
        "IN", "Images, as in train.py's --data_dir; with --verify: a packed folder."
    )
    out: str = argument("OUT", "The folder to make.")
    verify: bool = flag(
        False, "Compare the images of IN, a packed folder, with their checksums; write nothing."
    )
    short_side: int = flag(
        0,
        "Shorter side in pixels that larger images are reduced to; 0: leave all as they are.",
        at_least=0,
    )
    shard_images: int = flag(10_000, "Images in a file.", at_least=1)
    max_bad_fraction: float = flag(0.01, "As for train.py.", at_least=0, below=1)
    value_range: str = value_range_flag(
        "what is found in up to 256 of them; they are packed with 8 bits"
    )
    max_pixels: int = max_pixels_flag()

    def missing(self) -> list[str]:
        return [name for name in super().missing() if not (self.verify and name == "OUT")]

    def conflicts(self) -> list[str]:
        if not self.verify:
            return wrong_value_range(self.value_range)
        found = [
            f"--{name} would be ignored, since --verify writes nothing. Received: "
            f"--{name}={getattr(self, name)}. Leave it out."
            for name in self.changed(
                "short_side", "shard_images", "max_bad_fraction", "value_range", "max_pixels"
            )
        ]
        if self.out:
            found.append(
                f"OUT would be ignored, since --verify writes nothing. Received: {self.out}. "
                "Leave it out."
            )
        return found


@dataclasses.dataclass(frozen=True)
class TableConfig(Config):
    """Settings of `dc-keras table`."""

    run_dir: str = flag("", "Folder of a finished run.", required=True)
    out: str = flag("", "Table to write: a name that ends with .csv or .parquet.", required=True)
    features: str = flag(
        "", "Also write the descriptors there, rows as in the table: a file for numpy.load."
    )
    batch_size: int = flag(256, "Images in a step of feature extraction.", at_least=1)


@dataclasses.dataclass(frozen=True)
class DuplicatesConfig(Config):
    """Settings of `dc-keras duplicates`."""

    run_dir: str = flag("", "Folder of a finished run.", required=True)
    out: str = flag("", "CSV file to write: a row for each image that has a copy.", required=True)
    max_distance: float = flag(
        0.8,
        "Near copies: largest distance of their descriptors, of at most 2.",
        at_least=0,
        at_most=2,
    )
    max_bits: int = flag(
        8,
        "Near copies: bits of 63 in which their perceptual hashes may differ.",
        at_least=0,
        at_most=63,
    )
    min_correlation: float = flag(
        0.98, "Near copies: smallest correlation of their grey pixels.", at_least=0, at_most=1
    )
    batch_size: int = flag(256, "Images in a step of feature extraction.", at_least=1)


@dataclasses.dataclass(frozen=True)
class SortConfig(Config):
    """Settings of `dc-keras sort`."""

    run_dir: str = flag("", "Folder of a finished run.")
    out: str = flag("", "Folder to sort into: absent or empty.", required=True)
    copy: bool = flag(False, "Copy the images; default: link to them.")
    move: bool = flag(False, "Move the images there; default: link to them.")
    undo: bool = flag(False, "Bring everything back to how it was before --out was made.")
    dry_run: bool = flag(False, "Only tell how many images would go into which folder.")
    batch_size: int = flag(256, "Images in a step of feature extraction.", at_least=1)

    def missing(self) -> list[str]:
        needed = [] if self.undo or self.run_dir else ["--run_dir"]
        return needed + super().missing()

    def conflicts(self) -> list[str]:
        found = []
        if self.copy and self.move:
            found.append("Images are copied or moved. Received: --copy with --move. Leave one out.")
        if self.undo and (given := self.changed("run_dir", "copy", "move", "dry_run")):
            found.append(
                "Undoing goes by what was done. Received: --undo with "
                f"{', '.join(f'--{name}' for name in given)}. Leave that out."
            )
        return found
