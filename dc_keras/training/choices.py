"""What `--choose` sets, and why: from the images, the machine and the time that there is.

Each choice follows those before it and whatever was given. What they rest on is in docs/results.md
and the presets; where nothing was measured, a choice is a judgement, told with its reason.

    network             `compact`, with what goes with it, where the input has up to 128 pixels
    image size, width   as large as the time lets images be seen often enough
    fit, crops, colours by what the images look like
    clusters, PCA       by their number
    epochs              as many as the time allows, up to where passes repeat themselves
    precision           16 bits where a step was seen to be faster with them
"""

import bisect
import dataclasses
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from dc_keras.config import TrainingConfig
from dc_keras.config.training import CHOOSABLE
from dc_keras.data.pixels.center_crop import shown_part
from dc_keras.data.pixels.options import CROP, CROP_LARGE
from dc_keras.training.run_time import Measured, in_words, num_clusterings, run_time

# So many crops teach most of what there is to learn, or so many passes over few images.
_ENOUGH, _PASSES = 100_000, 100
# So that clusters are renewed now and then.
_FEWEST_PASSES = 10
_MOST_PASSES = 400
# Epochs between two clusterings, and from how many epochs on: features of all images take as long
# as many steps, and the clusters change little late in a long run.
_REASSIGN = {10.0: 100, 4.0: 40, 2.0: 10, 1.0: 0}
_SIZES = range(32, 225, 32)


class _Width(NamedTuple):
    """A width, and from how many images on it is tried.

    A wider network has more to learn, so that it should see so many crops.
    """

    width: float
    images: int
    crops: int


_WIDTHS = _Width(0.25, 0, 0), _Width(0.5, 2_000, 1_000_000), _Width(1.0, 20_000, 1_000_000)
_COMPACT_WIDTHS = _Width(0.375, 0, 0), _Width(0.5, 2_000, 600_000), _Width(0.75, 20_000, 1_000_000)
# The largest input of `compact`, whose features see 60 pixels each way; the largest that is chosen
# for it, as none was measured beyond; and what goes with it, as in the preset small_images.
_COMPACT, _COMPACT_UP_TO, _COMPACT_MEASURED = "compact", 128, 64
_COMPACT_MIN_AREA = 0.2
_WITH_COMPACT: dict[str, tuple[Any, str]] = {
    "whitened_patches": (3, "its first layer is fitted to the images' patches"),
    "crop_scale": (0.75, "half of the work, and things are as large as in whole images"),
    "instance_temperature": (0.1, "as in the preset for small images"),
    "optimizer": ("muon", "learns in a third of the steps"),
    "whiten": (True, "with neighbours it clusters best"),
    "diffusion_neighbours": (20, "clusters follow chains of neighbours"),
}
# Crops of each image in large batches; small ones would have few images.
_MORE_VIEWS, _MORE_VIEWS_FROM = 4, 256
# Learning rates of batches of 256, and how many steps go through few images at least: Muon learns
# more from few large ones.
_RATES = {"sgd": 0.05, "muon": 0.02}
_FEWEST_STEPS = {"sgd": 16, "muon": 4}
# Pixels of an image that a crop shows at least, each way.
_SMALLEST_CROP = 9
# Memory that a crop takes while it is trained on, at 224 pixels and width 0.25.
_BYTES_A_CROP = 47e6
_COLOURED = 0.05
_SHOWN = 0.5
# Times as fast that 16 bits must make a step: less is within what a busy machine varies by.
_BFLOAT16_PAYS = 1.15


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known before a run.

    Attributes:
        num_images: How many images can be read, at least one.
        sizes: Heights and widths of some of them in pixels, integers (m, 2).
        coloured: Part of these that have colours.
        free_bytes: Memory that is free.
        replicas: Devices that share a batch.
        seconds: Time that the run may take.
        bfloat16: How many times as fast as in float32 a step was in bfloat16; None where it was not
            tried, since the machine imitates it.
    """

    num_images: int
    sizes: np.ndarray
    coloured: float
    free_bytes: float
    replicas: int
    seconds: float
    bfloat16: float | None = None

    @property
    def short_side(self) -> int:
        """Pixels on the shorter side of the middle image."""
        return max(1, int(np.median(self.sizes.min(axis=1))))

    @property
    def bfloat16_pays(self) -> bool:
        """Whether steps in bfloat16 were seen to be faster."""
        return self.bfloat16 is not None and self.bfloat16 >= _BFLOAT16_PAYS


@dataclasses.dataclass(frozen=True)
class Speed:
    """What the parts of a run take with one network, by measure or by guess.

    Attributes:
        image_size: Its input.
        width: Its width.
        measured: What they take.
    """

    image_size: int
    width: float
    measured: Measured

    def at(self, image_size: int, width: float) -> Measured:
        """What they would take with another network.

        Reading stays as it is; the rest grows with the pixels, and with the width less than its
        square, since small layers do not keep a processor busy.

        >>> crop = dataclasses.replace(GUESS, crop=3.0, reading=1.0)
        >>> Speed(32, 0.25, crop).at(64, 0.25).crop
        9.0
        """
        grows = (image_size / self.image_size) ** 2 * (width / self.width) ** 1.5
        of = self.measured
        reading = min(of.reading, of.crop)
        read = min(reading, of.features)
        return dataclasses.replace(
            of,
            crop=reading + (of.crop - reading) * grows,
            features=read + (of.features - read) * grows,
        )


# Where nothing was measured yet: two busy processor cores, VGG16, 32 pixels, width 0.25.
GUESS = Measured(
    start=20,
    epoch=0.5,
    crop=4e-3,
    reading=2e-4,
    features=1e-3,
    pca=2.0,
    search=1e-4,
    feature_dim=1024,
    weights=10**7,
    resident=10**9,
)


def guess(facts: Facts, config: TrainingConfig) -> Speed:
    """What the parts of a run take before anything was measured."""
    if _arch(facts, config)[0] != _COMPACT:
        return Speed(32, 0.25, GUESS)
    compact = dataclasses.replace(GUESS, crop=3e-3, feature_dim=192, weights=10**6)
    return Speed(32, 0.375, compact)


class Choice(NamedTuple):
    """A flag that was chosen.

    Attributes:
        name: Of the flag.
        value: Its value.
        why: The reason, in a few words.
    """

    name: str
    value: Any
    why: str


def choose(
    facts: Facts, config: TrainingConfig, speed: Speed
) -> tuple[TrainingConfig, list[Choice]]:
    """Chooses the flags that `config.choose` names.

    Args:
        facts: What is known of images and machine.
        config: The settings, with what was given.
        speed: What a network takes; those of other sizes are worked out from it.

    Returns:
        The settings with what was chosen, in which nothing waits to be chosen any more; and the
        choices with their reasons, in the order of `CHOOSABLE`.
    """
    wanted = config.to_choose
    made: list[Choice] = []
    for chooser in (_basis, _with_network, _clusters, _network, _pixels, _steps, _length):
        found = [choice for choice in chooser(facts, config, speed) if choice.name in wanted]
        made += found
        config = dataclasses.replace(config, **{choice.name: choice.value for choice in found})
    made.sort(key=lambda choice: CHOOSABLE.index(choice.name))
    return dataclasses.replace(config, choose="", hours=1.0), made


def _basis(facts: Facts, config: TrainingConfig, speed: Speed) -> Iterator[Choice]:
    yield Choice("mode", config.mode, "learns more than the published recipe, except of millions")
    yield Choice("arch", *_arch(facts, config))
    yield Choice("precision", *_precision(facts, config))


def _precision(facts: Facts, config: TrainingConfig) -> tuple[str, str]:
    """What the network computes in, and why."""
    gain = facts.bfloat16
    if config.mode != "improved":
        return "float32", f"as --mode={config.mode}"
    if gain is None:
        return "float32", "this machine has no units for 16 bits, or none was tried"
    if facts.bfloat16_pays:
        return "mixed_bfloat16", f"a step is {gain:.1f} times as fast"
    return "float32", f"in bfloat16 a step is {gain:.1f} times as fast"


def _arch(facts: Facts, config: TrainingConfig) -> tuple[str, str]:
    """The network, and why."""
    if "arch" not in config.to_choose:
        return config.arch, "given"
    if config.mode != "improved" or config.sobel:
        return config.arch, "the published network"
    if "image_size" not in config.to_choose and config.image_size > _COMPACT_UP_TO:
        return config.arch, f"for an input of more than {_COMPACT_UP_TO} pixels"
    return _COMPACT, "learns more in the time"


def _with_network(facts: Facts, config: TrainingConfig, speed: Speed) -> Iterator[Choice]:
    """What goes with the network for small images, and else as the mode has it."""
    has_no_use = set()
    if not config.instance_weight:
        has_no_use.add("instance_temperature")
    if config.clustering == "pic" and not config.final_clusters:
        has_no_use.add("diffusion_neighbours")
    if config.sobel:
        has_no_use.add("whitened_patches")
    for name, (value, why) in _WITH_COMPACT.items():
        if config.arch == _COMPACT and name not in has_no_use:
            yield Choice(name, value, why)
        else:
            yield Choice(name, getattr(config, name), f"as --mode={config.mode}")


def _clusters(facts: Facts, config: TrainingConfig, speed: Speed) -> Iterator[Choice]:
    n = facts.num_images
    # 200 for 10,000 images as in the presets, and nearly the published 10,000 for ImageNet.
    usual = n / (8 * n**0.2)
    count = max(2, round(max(usual, min(10, n // 8))))
    if count >= 100:
        count = _rounded(count)
    yield Choice("num_clusters", count, f"about {n // count:,} of {n:,} images for each")
    dim = 256 if n >= 100_000 else 128
    why = "what k-means tells images by"
    while dim > 8 and dim > n / 4:
        dim //= 2
        why = f"{n:,} images have no more directions"
    while dim > 32 and 8 * n * dim > facts.free_bytes / 4:
        dim //= 2
        why = f"descriptors of {n:,} images in {facts.free_bytes / 1e9:.1f} GB of memory"
    yield Choice("pca_dim", max(1, min(dim, config.pca_images - 1)), why)


def _network(facts: Facts, config: TrainingConfig, speed: Speed) -> Iterator[Choice]:
    """The largest image that can be seen often enough, then the widest network."""
    sizes = [size for size in _sizes(facts, config) if "image_size" in config.to_choose]
    widths = _widths(facts, config) if "width" in config.to_choose else []
    if widths:
        config = dataclasses.replace(config, width=widths[0].width)
    for size in reversed(sizes):
        config = dataclasses.replace(config, image_size=size)
        if _passes(facts, config, speed) >= _passes_wanted(facts, config, _ENOUGH):
            break
    for width, _, crops in widths:
        wider = dataclasses.replace(config, width=width)
        if _passes(facts, wider, speed) >= _passes_wanted(facts, wider, crops):
            config = wider
    yield from _told_network(facts, config, speed)


def _told_network(facts: Facts, config: TrainingConfig, speed: Speed) -> Iterator[Choice]:
    """Image size and width as they are in the settings, with reasons."""
    size, width, n = config.image_size, config.width, facts.num_images
    why = f"the middle image has {facts.short_side:,} pixels on its shorter side"
    if config.arch == _COMPACT and size == _COMPACT_MEASURED < facts.short_side:
        why = f"{_COMPACT} was not measured with larger ones"
    if larger := [other for other in _sizes(facts, config) if other > size]:
        other = dataclasses.replace(config, image_size=larger[0])
        why = f"{larger[0]} {_too_slow(facts, other, speed, _ENOUGH)}"
    yield Choice("image_size", size, why)
    widths = _of_arch(config)
    why = "there is time for it" if width > widths[0].width else "the narrowest of the presets"
    if wider := [other for other in _widths(facts, config) if other.width > width]:
        other = dataclasses.replace(config, width=wider[0].width)
        why = f"{other.width:g} {_too_slow(facts, other, speed, wider[0].crops)}"
    elif n < widths[-1].images:
        why = f"{n:,} images teach no wider network"
    yield Choice("width", width, why)


def _too_slow(facts: Facts, config: TrainingConfig, speed: Speed, enough: int) -> str:
    """Why it is not the next larger network."""
    time = in_words(facts.seconds)
    if "epochs" not in config.to_choose:
        return f"would take longer than {time} for {config.epochs} epochs"
    seen = _passes(facts, config, speed) * facts.num_images
    wanted = round(_passes_wanted(facts, config, enough) * facts.num_images)
    return f"would see {seen:,} crops in {time}, of {wanted:,} wanted"


def _sizes(facts: Facts, config: TrainingConfig) -> list[int]:
    """Image sizes that do not show images larger than they are, in ascending order."""
    smallest = 64 if config.arch == "alexnet" else 32
    largest = max(smallest, round(facts.short_side / 32) * 32)
    if config.arch == _COMPACT:
        largest = min(largest, _COMPACT_MEASURED)
    return [size for size in _SIZES if smallest <= size <= largest]


def _of_arch(config: TrainingConfig) -> tuple[_Width, ...]:
    return _COMPACT_WIDTHS if config.arch == _COMPACT else _WIDTHS


def _widths(facts: Facts, config: TrainingConfig) -> list[_Width]:
    return [one for one in _of_arch(config) if facts.num_images >= one.images]


def _pixels(facts: Facts, config: TrainingConfig, speed: Speed) -> Iterator[Choice]:
    """How images become crops, by their shapes, sizes and colours."""
    cut = CROP_LARGE if config.mode == "improved" else CROP
    shown = shown_part(np.maximum(facts.sizes, 1), config.image_size, cut)
    if np.mean(shown < _SHOWN) <= 0.5:
        yield Choice(
            "fit", cut, f"the centre crop shows {np.median(shown):.0%} of the middle image"
        )
    else:
        ratios = np.log(np.maximum(facts.sizes, 1))
        low, high = np.quantile(ratios[:, 0] - ratios[:, 1], [0.25, 0.75])
        alike = high - low < math.log(1.5)
        few = f"a centre crop would show {np.median(shown):.0%} of the middle image"
        yield Choice(
            "fit",
            "squash" if alike else "pad",
            f"{few}; shapes {'are alike' if alike else 'differ'}",
        )
    usual, why = 0.08, "as published"
    if config.arch == _COMPACT:
        usual, why = _COMPACT_MIN_AREA, "as in the preset for small images"
    area = round(min(0.5, max(usual, (_SMALLEST_CROP / facts.short_side) ** 2)), 2)
    if area > usual:
        why = f"a crop of {facts.short_side} pixels has {_SMALLEST_CROP} each way"
    if area == 0.5:
        why = f"less of {facts.short_side} pixels shows nothing"
    yield Choice("crop_min_area", area, why)
    yield Choice("hflip", True, "usual; for text and digits give --hflip=false")
    coloured = facts.coloured >= _COLOURED
    why = "the images have colours" if coloured else "the images are grey"
    if config.mode != "improved":
        coloured, why = False, f"as --mode={config.mode}"
    yield Choice("color_jitter", 1.0 if coloured else 0.0, why)
    yield Choice("grayscale", 0.2 if coloured else 0.0, why)


def _steps(facts: Facts, config: TrainingConfig, speed: Speed) -> Iterator[Choice]:
    """Batch and learning rate."""
    batch, why = _batch(facts, config)
    yield Choice("batch_size", batch, why)
    batch = batch if "batch_size" in config.to_choose else config.batch_size
    yield Choice("instance_views", *_views(facts, config, batch))
    if config.mode == "improved":
        usual = _RATES[config.optimizer]
        rate = float(f"{usual * math.sqrt(batch / 256):.2g}")
        yield Choice("learning_rate", rate, f"{usual} for batches of 256, by the root of the batch")
        yield Choice("learning_rate_schedule", "cosine", "the end of the run is known")
        yield Choice("weight_decay", 1e-4, "as in the presets for few images")
    else:
        why = f"as --mode={config.mode}"
        yield Choice("learning_rate", 0.05, why)
        yield Choice("learning_rate_schedule", "constant", why)
        yield Choice("weight_decay", 1e-5, why)


def _views(facts: Facts, config: TrainingConfig, batch: int) -> tuple[int, str]:
    """Crops of each image, and why."""
    if config.arch != _COMPACT or not config.instance_weight:
        return 2, f"as --mode={config.mode}"
    if batch < _MORE_VIEWS_FROM or batch % (_MORE_VIEWS * facts.replicas):
        return 2, f"more were measured with batches of {_MORE_VIEWS_FROM} alone"
    return _MORE_VIEWS, "as in the preset for small images"


def _batch(facts: Facts, config: TrainingConfig) -> tuple[int, str]:
    """Images in a step, by the number of images and the memory, and why."""
    n, share = facts.num_images, facts.replicas * config.views
    steps = _FEWEST_STEPS[config.optimizer]
    batch = _power_of_two(min(256, config.views * n, max(16, n / steps)))
    why = "as usual" if batch == 256 else f"{max(1, round(n / batch))} steps for {n:,} images"
    a_crop = _BYTES_A_CROP * (config.image_size / 224) ** 2 * (config.width / 0.25)
    room = max(16, facts.free_bytes / 2 / a_crop)
    if batch > room:
        batch = _power_of_two(room)
        why = f"what {facts.free_bytes / 1e9:.1f} GB of memory hold"
    return max(1, batch // share) * share, why


def _length(facts: Facts, config: TrainingConfig, speed: Speed) -> Iterator[Choice]:
    """Epochs, and how many of them go by between clusterings."""
    passes = _passes(facts, config, speed)
    epochs = max(1, passes)
    if "reassign" not in config.to_choose:
        epochs = max(epochs, math.ceil(config.reassign))
    crops = f"{epochs * facts.num_images:,} crops"
    if passes == _MOST_PASSES:
        why = f"{crops}; more passes over the same images would teach little"
    elif passes < epochs:
        why = f"the least; it takes more than the {in_words(facts.seconds)} that are left"
    else:
        why = f"{crops} in {in_words(facts.seconds)}"
    if "epochs" not in config.to_choose:
        epochs = config.epochs
    reassign = min(_reassign(epochs), float(epochs))
    turns = num_clusterings(epochs, reassign)
    yield Choice("reassign", reassign, f"{turns} clusterings, of which there shall be several")
    yield Choice("epochs", epochs, why)


def _passes_wanted(facts: Facts, config: TrainingConfig, crops: int) -> float:
    """How often images must be seen for so many crops, or are by what was given."""
    if "epochs" not in config.to_choose:
        return 1
    n = facts.num_images
    return min(max(crops / n, _FEWEST_PASSES), _PASSES)


def _passes(facts: Facts, config: TrainingConfig, speed: Speed) -> int:
    """The most epochs that the time allows, up to `_MOST_PASSES`; with given epochs 1 or 0."""
    measured = speed.at(config.image_size, config.width)

    def seconds(epochs: int) -> float:
        changes: dict[str, Any] = {"epochs": epochs}
        if "reassign" in config.to_choose:
            changes["reassign"] = _reassign(epochs)
        if "batch_size" in config.to_choose:
            changes["batch_size"] = _batch(facts, config)[0]
        length = dataclasses.replace(config, **changes)
        return run_time(length, facts.num_images, measured).total

    if "epochs" not in config.to_choose:
        return int(seconds(config.epochs) <= facts.seconds)
    return bisect.bisect_right(range(1, _MOST_PASSES + 1), facts.seconds, key=seconds)


def _reassign(epochs: int) -> float:
    """Epochs between two clusterings, of which there shall be ten or so."""
    return next(turn for turn, least in _REASSIGN.items() if epochs >= least)


def _power_of_two(number: float) -> int:
    """The largest power of two that is not larger, at least 1."""
    return 1 << max(0, math.floor(math.log2(number)))


def _rounded(count: int) -> int:
    """A number with two digits and zeros behind them.

    >>> _rounded(1234)
    1200
    """
    unit = 10 ** (len(str(count)) - 2)
    return round(count / unit) * unit
