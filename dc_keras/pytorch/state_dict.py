"""Weights under the names and in the layout of the published PyTorch networks, and back.

Works on named arrays; `pytorch.checkpoint` reads and writes the files. The names are

    sobel.{0,1}         the fixed front-end: mean of the colours, and the two Sobel filters
    features.N          convolutions and batch norms; PyTorch counts ReLUs and poolings too
    classifier.N        fc6 and fc7; ReLUs and dropouts are counted too
    top_layer           the head

each with `.weight` and `.bias`, batch norms also with `.running_mean` and `.running_var`. PyTorch
holds images as (channels, height, width). So convolutions differ in the order of their axes, and
fc6, which sees the last feature maps flattened, in the order of its inputs.
"""

import dataclasses
import functools
import math
from collections.abc import Collection, Mapping

import keras
import numpy as np

from dc_keras.errors import InputError
from dc_keras.models.architectures import build_network
from dc_keras.models.blocks import FULLY_CONNECTED
from dc_keras.models.options import NetworkOptions
from dc_keras.models.sobel import SOBEL

# Of the fixed front-end, as PyTorch holds it: convolutions (out, in, h, w) and their biases.
FRONT_END = {
    "sobel.0.weight": np.full((1, 3, 1, 1), 1 / 3, np.float32),
    "sobel.0.bias": np.zeros(1, np.float32),
    "sobel.1.weight": SOBEL[:, None],
    "sobel.1.bias": np.zeros(2, np.float32),
}
# Pixels between two neighbouring positions of the last feature maps, in both networks.
_TOTAL_STRIDE = 32


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What tells one network from another.

    Attributes:
        arch: "vgg16" or "alexnet".
        image_size: Side of the input in pixels.
        num_clusters: Outputs of the head.
        width: Factor of the published numbers of channels and units.
        use_sobel: Whether the Sobel front-end is there.
    """

    arch: str
    image_size: int
    num_clusters: int
    width: float
    use_sobel: bool

    def build(self) -> keras.Model:
        """The network, with initial weights."""
        options = NetworkOptions(
            image_size=self.image_size,
            arch=self.arch,
            width=self.width,
            use_sobel=self.use_sobel,
        )
        return build_network(options, self.num_clusters)


def to_state_dict(network: keras.Model) -> dict[str, np.ndarray]:
    """The weights of a network as PyTorch would name and shape them.

    Args:
        network: What `build_network` makes, or a model with the same layers.

    Returns:
        float32 arrays by name, in PyTorch's order. The number of batches that PyTorch's batch norms
        count, and have no use for, is left out; PyTorch takes it for 0.
    """
    state = {name: array.copy() for name, array in FRONT_END.items() if _has_sobel(network)}
    maps = network.get_layer("flatten").input.shape[1:]
    for name, variable in _variables(network).items():
        array = np.asarray(variable.numpy(), np.float32)
        if array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        elif array.ndim == 2:
            if variable.path == "fc6/kernel":
                array = array.reshape(*maps, -1).transpose(2, 0, 1, 3).reshape(array.shape)
            array = array.T
        state[name] = np.ascontiguousarray(array)
    return state


def load_state_dict(network: keras.Model, state: Mapping[str, np.ndarray]) -> None:
    """Gives a network the weights of its PyTorch counterpart, all or nothing.

    Args:
        network: What `build_network` makes, or a model with the same layers.
        state: Arrays by the names of `to_state_dict`, without prefixes of DataParallel.

    Raises:
        InputError: Names the first array that is missing, unexpected, misshaped, not finite, or
            (of the front-end) not the published constant.
    """
    variables = _variables(network)
    _check_names(state, [*(FRONT_END if _has_sobel(network) else ()), *variables])
    for name, variable in variables.items():
        expected = _torch_shape(variable.shape)
        if state[name].shape != expected:
            raise _mismatch(f"{name} has shape {state[name].shape}, not {expected}")
        if not np.isfinite(state[name]).all():
            raise _mismatch(f"{name} holds NaN or infinity")
    _check_front_end(state)
    maps = network.get_layer("flatten").input.shape[1:]
    for name, variable in variables.items():
        array = state[name]
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        elif array.ndim == 2:
            array = array.T
            if variable.path == "fc6/kernel":
                height, width, channels = maps
                array = array.reshape(channels, height, width, -1).transpose(1, 2, 0, 3)
                array = array.reshape(variable.shape)
        variable.assign(array)


def infer_architecture(
    state: Mapping[str, np.ndarray], arch: str | None = None, image_size: int | None = None
) -> Architecture:
    """Reads from names and shapes which network they belong to.

    Args:
        state: Arrays by the names of `to_state_dict`, without prefixes of DataParallel.
        arch: "vgg16" or "alexnet"; None takes the one with which most names agree.
        image_size: Side of the input in pixels; None takes the multiple of 32 for which fc6 has the
            right number of inputs, which is 224 for the published networks.

    Returns:
        The architecture. Its network may still differ from `state` in shapes.

    Raises:
        InputError: Names the first array that is missing, unexpected or of no possible shape.
    """
    first = state.get("features.0.weight")
    use_sobel = first is not None and first.ndim == 4 and first.shape[1] == 2
    names = {name: _published_names(name, use_sobel) for name in ("vgg16", "alexnet")}
    if arch is None:
        arch = max(names, key=lambda name: len(state.keys() & {*names[name]}))
    _check_names(state, names[arch])

    last_norm, fc6, fc7, head = [name for name in names[arch] if name.endswith(".weight")][-4:]
    # Nothing is built to these sizes before they agree with each other.
    units = state[fc7].shape[0] if state[fc7].ndim else 0
    for name, expected in (
        (fc7, (units, units)),
        (fc6, (units, None)),
        (head, (None, units)),
        (last_norm, (None,)),
    ):
        if not _fits(state[name].shape, expected):
            shape = str(expected).replace("None", "any")
            raise _mismatch(f"{name} has shape {state[name].shape}, not {shape}")
    inputs, channels = state[fc6].shape[1], len(state[last_norm])
    side = math.isqrt(inputs // channels)
    if inputs != channels * side**2:
        raise _mismatch(f"{fc6} has {inputs} inputs, not {channels} for each place of a square map")
    return Architecture(
        arch=arch,
        # AlexNet's first convolution and poolings lose a border, which makes up one position.
        image_size=image_size or _TOTAL_STRIDE * (side + (arch == "alexnet")),
        num_clusters=len(state[head]),
        width=units / FULLY_CONNECTED,
        use_sobel=use_sobel,
    )


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    """Whether a shape is the expected one, in which None stands for any size above 0."""
    return len(shape) == len(expected) and all(
        size > 0 and want in (None, size) for size, want in zip(shape, expected, strict=True)
    )


@functools.cache
def _published_names(arch: str, use_sobel: bool) -> tuple[str, ...]:
    """Names that the arrays of a network have, whatever its size."""
    small = Architecture(arch, 64, 2, 1 / 64, use_sobel).build()
    return (*(FRONT_END if use_sobel else ()), *_variables(small))


def _variables(network: keras.Model) -> dict[str, keras.Variable]:
    """The variables of a network by the names of their PyTorch counterparts, in its order."""
    named: dict[str, keras.Variable] = {}
    # PyTorch's Sequential numbers every layer, also those without weights, but no padding, which
    # is part of the convolution there.
    part, position = "features", 0
    for layer in network.layers:
        match layer:
            case keras.layers.Flatten():
                part, position = "classifier", 0
                continue
            case keras.layers.Conv2D() | keras.layers.Dense():
                name = "top_layer" if layer.name == "head" else f"{part}.{position}"
                named |= {f"{name}.weight": layer.kernel, f"{name}.bias": layer.bias}
            case keras.layers.BatchNormalization():
                name = f"{part}.{position}"
                named |= {
                    f"{name}.weight": layer.gamma,
                    f"{name}.bias": layer.beta,
                    f"{name}.running_mean": layer.moving_mean,
                    f"{name}.running_var": layer.moving_variance,
                }
            case keras.layers.ReLU() | keras.layers.MaxPooling2D() | keras.layers.Dropout():
                pass
            case _:
                continue
        position += 1
    return named


def _has_sobel(network: keras.Model) -> bool:
    return any(layer.name == "sobel" for layer in network.layers)


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a variable's counterpart in PyTorch."""
    height_width, inputs_outputs = shape[:-2], shape[-2:]
    return (*reversed(inputs_outputs), *height_width)


def _check_names(state: Mapping[str, np.ndarray], expected: Collection[str]) -> None:
    for name in expected:
        if name not in state:
            raise _mismatch(f"{name} is missing")
    for name in state:
        if name not in expected:
            raise _mismatch(f"{name} is unexpected")


def _check_front_end(state: Mapping[str, np.ndarray]) -> None:
    for name, constant in FRONT_END.items():
        # A file may hold 1/3 as rounded by a GPU.
        if name in state and not (
            state[name].shape == constant.shape
            and np.allclose(state[name], constant, rtol=1e-6, atol=0)
        ):
            raise _mismatch(f"{name} is not the fixed front-end's {constant.tolist()}")


def _mismatch(problem: str) -> InputError:
    return InputError(
        f"The weights are not those of a DeepCluster network. Received: weights where {problem}. "
        "Expected vgg16 or alexnet with batch norm as published, of any width and number of "
        "clusters, with sobel or without."
    )
