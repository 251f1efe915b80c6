"""Which of another network's weights a network can start from.

Works on named arrays and shapes, as checkpoints have them ("conv1_1/kernel"); `starting_weights`
reads them. Convolutions and their batch norm must fit, or there is nothing to start from. The fully
connected layers are taken together or not at all, since fc7 reads what fc6 makes. The head belongs
to clusters, so it is never taken.
"""

import dataclasses
from collections.abc import Iterable, Mapping

import keras
import numpy as np

from dc_keras.errors import InputError
from dc_keras.models.blocks import FULLY_CONNECTED, scaled
from dc_keras.models.compact import PROJECTION
from dc_keras.models.patch_whitening import PATCHES

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

# By architecture: the first convolution; and a convolution and a fully connected layer that no
# other architecture has both of, with their outputs at width 1.
_TELLING = {
    "vgg16": ("conv1_1", ("conv1_1", 64), ("fc7", FULLY_CONNECTED)),
    "alexnet": ("conv1", ("conv1", 96), ("fc7", FULLY_CONNECTED)),
    "compact": ("conv1_1", ("conv2_1", 128), ("projection", PROJECTION[-1])),
}
# Layers behind which batch norm stands have another name; see `models.blocks`.
_WITH_NORM = {False: "", True: "_linear"}
# What the names of fully connected layers begin with.
_CONNECTED = ("fc", "projection")


@dataclasses.dataclass(frozen=True)
class Kind:
    """What names and shapes tell of a network, as its flags would.

    Attributes:
        arch: "vgg16", "alexnet" or "compact".
        width: Factor of the published numbers of channels and units.
        sobel: Whether it sees gradients and not colours.
        fc_norm: Whether batch norm follows its fully connected layers.
    """

    arch: str
    width: float
    sobel: bool
    fc_norm: bool

    def flag(self, name: str) -> str:
        """A flag with its value, such as "--width=0.25"."""
        value = getattr(self, name)
        if isinstance(value, float):
            return f"--{name}={value:g}"
        return f"--{name}={str(value).lower()}"


@dataclasses.dataclass(frozen=True)
class InitialWeights:
    """What a network starts from.

    Attributes:
        taken: Arrays by name.
        new: Layers that keep their random weights, in order; the head is one of them.
        reason: Why others than the head are, behind "since"; empty where none are.
    """

    taken: dict[str, np.ndarray]
    new: tuple[str, ...]
    reason: str = ""


def weights_that_fit(wanted: Shapes, given: Mapping[str, np.ndarray]) -> InitialWeights:
    """Chooses what a network takes of the weights of another one.

    Args:
        wanted: Shapes of the network's weights by name.
        given: The other network's weights by name.

    Raises:
        InputError: If those are not of a network of this program, have NaN, or other convolutions.
            It names the first layer that does not fit, and the flags that would make it fit.
    """
    shapes = {name: array.shape for name, array in given.items()}
    kind, own = kind_of(shapes), kind_of(wanted)
    if own is None:
        raise ValueError(f"Not a network of this program. Received: {sorted(wanted)[:3]}.")
    if kind is None:
        raise InputError(
            "The weights are not those of a network of this program. Received: "
            f"{_some(shapes) or 'no weights'}. Expected {', '.join(_TELLING)} with batch norm, as "
            "train.py or dc-keras convert writes them."
        )
    convolutions = [name for name in wanted if name.startswith(("conv", "bn", PATCHES))]
    connected = [name for name in wanted if name.startswith(_CONNECTED)]
    if wrong := _first_difference(convolutions, wanted, shapes):
        raise InputError(
            f"The weights do not fit the network. Received: {wrong}. {_remedy(kind, own)}"
        )
    reason = _why_new(kind, own, connected, wanted, shapes)
    names = convolutions if reason else convolutions + connected
    for name in names:
        if not np.isfinite(given[name]).all():
            raise InputError(f"The weights are no numbers. Received: NaN or infinity in {name}.")
    return InitialWeights(
        taken={name: given[name] for name in names},
        new=tuple(dict.fromkeys(_layer(name) for name in wanted if name not in names)),
        reason=reason,
    )


def assign(network: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Gives a network's variables values by name; the others stay as they are."""
    for variable in network.weights:
        if variable.path in weights:
            variable.assign(weights[variable.path])


def kind_of(shapes: Shapes) -> Kind | None:
    """Works out what a network is like from its weights.

    Args:
        shapes: Of the weights, by name.

    Returns:
        Its kind; None if it is none that this program makes.

    >>> shapes = {"conv1_1/kernel": (3, 3, 2, 19), "fc7/kernel": (1229, 1229)}
    >>> kind_of(shapes)
    Kind(arch='vgg16', width=0.3, sobel=True, fc_norm=False)
    """
    for arch, (first, (convolution, channels), (connected, units)) in _TELLING.items():
        colors = shapes.get(f"{PATCHES}/kernel", shapes.get(f"{first}/kernel", ()))
        maps = shapes.get(f"{convolution}/kernel", ())
        for fc_norm, suffix in _WITH_NORM.items():
            last = shapes.get(f"{connected}{suffix}/kernel", ())
            known = (len(colors), len(maps), len(last)) == (4, 4, 2)
            if known and colors[2] in (2, 3):
                width = _width({channels: maps[3], units: last[1]})
                return Kind(arch, width, colors[2] == 2, fc_norm)
    return None


def _width(sizes: Mapping[int, int]) -> float:
    """The shortest number that makes the published sizes these ones."""
    largest = max(sizes)
    exact = sizes[largest] / largest
    if exact == float(f"{exact:g}"):
        return exact
    for digits in range(1, 7):
        width = float(f"{exact:.{digits}g}")
        if all(scaled(published, width) == size for published, size in sizes.items()):
            return width
    return exact


def _first_difference(names: Iterable[str], wanted: Shapes, given: Shapes) -> str:
    """The first of the weights that is missing or of another shape, in words; empty for none."""
    for name in names:
        if name not in given:
            return f"weights without {_layer(name)}"
        if given[name] != wanted[name]:
            return f"{name} of shape {given[name]} where the network has {wanted[name]}"
    return ""


def _remedy(kind: Kind, own: Kind) -> str:
    """Which flags would make convolutions fit, as far as the weights tell."""
    differing = [
        kind.flag(name)
        for name in ("arch", "width", "sobel")
        if getattr(kind, name) != getattr(own, name)
    ]
    if not differing:
        return "Expected those that train.py makes with the same flags."
    return f"Expected those of the same flags: these are of {' '.join(differing)}."


def _why_new(kind: Kind, own: Kind, connected: Iterable[str], wanted: Shapes, given: Shapes) -> str:
    """Why the fully connected layers are not taken; empty if they are."""
    if kind.fc_norm != own.fc_norm:
        return f"the weights are of {kind.flag('fc_norm')}"
    different = [name for name in connected if given.get(name) != wanted[name]]
    told = _first_difference(different, wanted, given)
    if different in (["fc6/kernel"], ["fc6_linear/kernel"]):
        return f"fc6 was made for another --image_size ({told})"
    return told


def _layer(name: str) -> str:
    """The layer that a weight belongs to."""
    return name.rpartition("/")[0] or name


def _some(names: Iterable[str]) -> str:
    """A few names, to recognise them by."""
    layers = list(dict.fromkeys(map(_layer, names)))
    return ", ".join(layers[:3]) + (", ..." if len(layers) > 3 else "")
