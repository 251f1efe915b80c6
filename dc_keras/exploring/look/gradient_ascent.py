"""Pictures that make filters respond, made by gradient ascent.

Plain ascent on pixels ends in noise that no image has. Here a picture is

    frequencies  ->  blurred  ->  colours  ->  0..1  ->  a crop at random  ->  the network

Its unknowns are frequencies, low ones weighted more, as in images (1 / f); a blur keeps the highest
out. Its colours vary together as those of the run's images do. The crop moves by some pixels at
each step, so that nothing is gained by a pattern that fits one place alone.

Reference:
    Olah, Mordvintsev and Schubert 2017, "Feature Visualization".
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from dc_keras.exploring.look.open_network import OpenNetwork
from dc_keras.seeds import numpy_rng

# The picture's spread at the start, and the factor that Olah et al. have before the sigmoid.
_START, _CONTRAST = 0.01, 0.25


@dataclasses.dataclass(frozen=True)
class Ascent:
    """How a picture is made.

    Attributes:
        steps: Steps of Adam.
        step_size: Its learning rate.
        blur: Standard deviation of the blur in pixels.
        at_once: Pictures that are made together, which takes memory.
    """

    steps: int = 128
    step_size: float = 0.05
    blur: float = 0.7
    at_once: int = 16


class Preferred(NamedTuple):
    """Pictures, and what they came to.

    Attributes:
        pictures: uint8 `(n, s, s, 3)`.
        before: Mean of the filter's map at the start, float32 `(n,)`.
        after: The same at the end.
    """

    pictures: np.ndarray
    before: np.ndarray
    after: np.ndarray


def preferred_pictures(
    network: OpenNetwork,
    filters: Sequence[int],
    colours: np.ndarray,
    *,
    seed: int,
    ascent: Ascent | None = None,
    progress: bool = False,
) -> Preferred:
    """Makes a picture for each filter that raises the mean of its map.

    Args:
        network: Opened for one layer, best before its ReLU.
        filters: Their numbers. The picture of one does not depend on which others there are, but
            for rounding.
        colours: What `colours_of` returns.
        seed: Of the run.
        ascent: How; default: `Ascent()`.
        progress: Whether to show a progress bar, with the time left.
    """
    ascent = ascent or Ascent()
    made = []
    blocks = [
        filters[start : start + ascent.at_once] for start in range(0, len(filters), ascent.at_once)
    ]
    bar = tqdm(
        total=len(blocks) * ascent.steps,
        desc="Drawing for filters",
        unit="step",
        disable=not progress,
    )
    # Up to the layer alone: what stands behind would be computed for nothing.
    part = dataclasses.replace(
        network, model=keras.Model(network.model.input, network.model.output[0])
    )
    with bar:
        for block in blocks:
            made.append(_climb(part, block, colours, seed, ascent, bar))
    if not made:
        side = network.image_size
        return Preferred(np.zeros((0, side, side, 3), np.uint8), *np.zeros((2, 0), np.float32))
    return Preferred(*(np.concatenate(parts) for parts in zip(*made, strict=True)))


def colours_of(images: np.ndarray) -> np.ndarray:
    """How the colours of images vary together, to make decorrelated ones look like them.

    Args:
        images: uint8 `(n, h, w, 3)`.

    Returns:
        A root of the covariance of their colours, float32 `(3, 3)`, whose longest column has
        length one. Images of one colour are taken for grey ones.

    >>> grey = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1).repeat(3, axis=3)
    >>> np.abs(colours_of(grey)).astype(float).round(3).tolist()
    [[0.577, 0.0, 0.0], [0.577, 0.0, 0.0], [0.577, 0.0, 0.0]]
    """
    pixels = images.reshape(-1, 3).astype(np.float64)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(pixels.T, bias=True)))
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    if values[0] <= 0:
        return grey_colours()
    # Rounding leaves variances that no pixel has.
    values[values < 1e-9 * values[0]] = 0.0
    return (vectors * np.sqrt(values / values[0])).astype(np.float32)


def grey_colours() -> np.ndarray:
    """The colours of grey images, for networks that see no others."""
    colours = np.zeros((3, 3), np.float32)
    colours[:, 0] = 3**-0.5
    return colours


def spectrum_weights(side: int, blur: float) -> np.ndarray:
    """Weights of the frequencies of a square picture: 1 / f, times a Gaussian blur.

    Args:
        side: Of the picture in pixels.
        blur: Standard deviation in pixels.

    Returns:
        float32 `(side, side // 2 + 1)`, as `numpy.fft.rfft2` lays frequencies out.

    >>> spectrum_weights(4, blur=0.0)[0].round(3).tolist()
    [16.0, 16.0, 8.0]
    """
    down, right = np.fft.fftfreq(side)[:, np.newaxis], np.fft.rfftfreq(side)[np.newaxis]
    frequency = np.hypot(down, right)
    weights = side / np.maximum(frequency, 1.0 / side)
    return (weights * np.exp(-2.0 * (np.pi * blur * frequency) ** 2)).astype(np.float32)


def _climb(
    network: OpenNetwork,
    filters: Sequence[int],
    colours: np.ndarray,
    seed: int,
    ascent: Ascent,
    bar: tqdm,
) -> Preferred:
    """Makes the pictures of one block."""
    side = network.image_size
    margin = max(2, side // 16)
    whole = side + 2 * margin
    weights = spectrum_weights(whole, ascent.blur)
    start = np.stack(
        [
            numpy_rng(seed, "look ascent", one).normal(0.0, _START, (2, 3, *weights.shape))
            for one in filters
        ]
    ).astype(np.float32)
    frequencies = keras.Variable(start, name="frequencies")
    optimizer = keras.optimizers.Adam(ascent.step_size)
    optimizer.build([frequencies])
    wanted = tf.stack([tf.range(len(filters)), tf.constant(filters, tf.int32)], axis=1)

    def picture() -> tf.Tensor:
        real, imaginary = tf.unstack(tf.convert_to_tensor(frequencies), axis=1)
        spectrum = tf.complex(real * weights, imaginary * weights)
        values = tf.signal.irfft2d(spectrum, (whole, whole)) * _CONTRAST
        values = tf.einsum("ncyx,dc->nyxd", values, tf.constant(colours))
        return tf.sigmoid(values)

    def response(pictures: tf.Tensor) -> tf.Tensor:
        maps = network.model(network.normalized(pictures * 255.0), training=False)
        means = tf.reduce_mean(tf.cast(maps, tf.float32), axis=(1, 2))
        return tf.gather_nd(means, wanted)

    def cut(pictures: tf.Tensor, corner: tf.Tensor) -> tf.Tensor:
        begin = tf.concat([[0], corner, [0]], axis=0)
        shape = (len(filters), side, side, 3)
        return tf.ensure_shape(tf.slice(pictures, begin, shape), shape)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec(2, tf.int32)])
    def step(corner):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_sum(response(cut(picture(), corner)))
        optimizer.apply(tape.gradient(loss, [frequencies.value]), [frequencies])

    @tf.function(autograph=False, input_signature=[])
    def seen():
        middle = cut(picture(), tf.constant([margin, margin]))
        return middle, response(middle)

    _, before = seen()
    corners = numpy_rng(seed, "look jitter").integers(0, 2 * margin + 1, (ascent.steps, 2))
    for corner in corners.astype(np.int32):
        step(tf.constant(corner))
        bar.update()
    pictures, after = seen()
    return Preferred(
        np.rint(pictures.numpy() * 255.0).astype(np.uint8), before.numpy(), after.numpy()
    )
