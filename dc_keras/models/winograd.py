"""3x3 convolutions with a quarter of the multiplications, on CPUs.

A tile of 4x4 outputs depends on 6x6 inputs. Both are polynomials, whose product is known from its
values at six points in each direction: 36 multiplications in place of 144. What all tiles have at
one point is a matrix, so that a convolution becomes 36 products of matrices, between changes from
pixels to points and back, which are small products of matrices themselves. Gradients are the same
steps in the opposite direction.

Cost: points take 2.25 times the memory of the maps, for one layer at a time. Numbers are multiplied
by up to 8 on the way: in float32, results are 2e-6 to 2e-5 of the largest away from the exact ones,
where TensorFlow's own are 1e-7 to 3e-6 away.

Reference: Winograd 1980, "Arithmetic Complexity of Computations", chapter 5; Lavin and Gray 2016,
"Fast Algorithms for Convolutional Neural Networks", sections 4.1 to 4.3.
"""

import numpy as np
import tensorflow as tf

# Outputs of a tile, and points: 0, 1, -1, 2, -2 and infinity. One direction of each.
TILE, POINTS = 4, 6
# What six inputs, three weights and four outputs have to do with the points.
_FROM_INPUTS = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_FROM_WEIGHTS = (
    np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
)
_TO_OUTPUTS = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
)
# Below, changes to points and back take longer than multiplying saves: products of the numbers of
# channels, and with them of the number of tiles. Measured, see docs/data/operations.csv.
_CHANNELS_FORWARD, _CHANNELS_BACK, _TILES = 2**16, 2**14, 2**23
_SIDES = range(4, 57)

Points = list[list[tf.Tensor]]


def saves_time(inputs: tf.Tensor, kernel: tf.Tensor, *, back: bool) -> bool:
    """Whether `convolve`, or `gradients`, is the faster way.

    Args:
        inputs: Float `(n, h, w, c)`. If `n` is unknown, as in a graph to be served, it may be one
            image, whose few tiles are not worth it.
        kernel: Float `(3, 3, c, d)`.
        back: Whether for the gradients.
    """
    count, *sides = inputs.shape[:3]
    if inputs.dtype not in (tf.float32, tf.float64) or not count or kernel.shape[:2] != (3, 3):
        return False
    if any(side not in _SIDES for side in sides):
        return False
    channels = kernel.shape[2] * kernel.shape[3]
    tiles = count * _tiles(sides[0]) * _tiles(sides[1])
    enough = _CHANNELS_BACK if back else _CHANNELS_FORWARD
    return channels >= enough and tiles * channels >= _TILES


def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """A convolution that is padded to the same size.

    Args:
        inputs: Float `(n, h, w, c)`.
        kernel: Float `(3, 3, c, d)`.

    Returns:
        Float `(n, h, w, d)`.
    """
    sides = inputs.shape[1:3]
    products = _multiply(_to_points(inputs, _input_matrices(sides)), _kernel_points(kernel))
    return _from_points(products, _output_matrices(sides))


def gradients(
    inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Gradients of `convolve`.

    Args:
        inputs: Float `(n, h, w, c)`.
        kernel: Float `(3, 3, c, d)`.
        upstream: Gradient of the outputs, float `(n, h, w, d)`.

    Returns:
        Gradients of the inputs and of the kernel.
    """
    sides = inputs.shape[1:3]
    upstream_points = _to_points(upstream, _output_matrices(sides))
    turned = _kernel_points(tf.transpose(kernel, (0, 1, 3, 2)))
    to_inputs = _from_points(_multiply(upstream_points, turned), _input_matrices(sides))
    input_points = _to_points(inputs, _input_matrices(sides))
    products = _multiply(input_points, upstream_points, transpose_a=True)
    size = kernel.shape[2] * kernel.shape[3]
    to_kernel = tf.add_n(
        [
            tf.matmul(tf.constant(line.T, kernel.dtype), tf.reshape(tf.stack(row), (POINTS, size)))
            for line, row in zip(_kernel_matrices(), products, strict=True)
        ]
    )
    return to_inputs, tf.reshape(to_kernel, kernel.shape)


def _tiles(side: int) -> int:
    return -(-side // TILE)


def _banded(part: np.ndarray, side: int, before: int) -> np.ndarray:
    """The matrix of all tiles in one direction, from that of one; outside of the map is nothing.

    Args:
        part: `(points, a)`, of `a` pixels.
        side: Of the map.
        before: How many of the pixels are before the tile.

    Returns:
        `(points, tiles, side)`.
    """
    tiles = _tiles(side)
    banded = np.zeros((POINTS, tiles, before + TILE * tiles + POINTS))
    for tile in range(tiles):
        banded[:, tile, TILE * tile : TILE * tile + part.shape[1]] = part
    return banded[:, :, before : before + side]


def _input_matrices(sides) -> list[np.ndarray]:
    return [_banded(_FROM_INPUTS, side, 1) for side in sides]


def _output_matrices(sides) -> list[np.ndarray]:
    return [_banded(_TO_OUTPUTS.T, side, 0) for side in sides]


def _kernel_matrices() -> np.ndarray:
    """`(points, points, 9)`: from a kernel's nine places to both directions' points."""
    both = np.einsum("ia,jb->ijab", _FROM_WEIGHTS, _FROM_WEIGHTS)
    return both.reshape(POINTS, POINTS, 9)


def _to_points(maps: tf.Tensor, matrices: list[np.ndarray]) -> Points:
    """What each tile of `(n, h, w, c)` has at each point, `(n * tiles, c)`.

    One line of points at a time, so that no array is large: memory that is new to the process costs
    more than what is computed in it.
    """
    rows, columns = matrices
    across, width = columns.shape[1:]
    height, channels = rows.shape[2], maps.shape[3]
    maps = tf.reshape(maps, (-1, height, width * channels))
    columns = tf.constant(columns.reshape(1, POINTS * across, width), maps.dtype)
    lines = []
    for row in rows:
        line = tf.matmul(tf.constant(row[np.newaxis], maps.dtype), maps)
        line = tf.matmul(columns, tf.reshape(line, (-1, width, channels)))
        line = tf.reshape(line, (-1, POINTS, across, channels))
        lines.append([tf.reshape(line[:, point], (-1, channels)) for point in range(POINTS)])
    return lines


def _from_points(lines: Points, matrices: list[np.ndarray]) -> tf.Tensor:
    """The adjoint of `_to_points`: `(n, h, w, c)` from `(n * tiles, c)` at each point."""
    rows, columns = matrices
    (_, down, height), (_, across, width) = rows.shape, columns.shape
    channels, dtype = lines[0][0].shape[1], lines[0][0].dtype
    rows = tf.constant(rows.reshape(1, POINTS * down, height).transpose(0, 2, 1), dtype)
    columns = tf.constant(columns.reshape(1, POINTS * across, width).transpose(0, 2, 1), dtype)
    merged = []
    for line in lines:
        line = tf.stack([tf.reshape(point, (-1, across * channels)) for point in line], axis=1)
        line = tf.matmul(columns, tf.reshape(line, (-1, POINTS * across, channels)))
        merged.append(tf.reshape(line, (-1, down, width * channels)))
    maps = tf.matmul(rows, tf.concat(merged, axis=1))
    return tf.reshape(maps, (-1, height, width, channels))


def _kernel_points(kernel: tf.Tensor) -> Points:
    """What `(3, 3, c, d)` has at each point, `(c, d)`."""
    channels, filters = kernel.shape[2:]
    flat = tf.reshape(kernel, (9, channels * filters))
    return [
        tf.unstack(
            tf.reshape(
                tf.matmul(tf.constant(line, kernel.dtype), flat), (POINTS, channels, filters)
            )
        )
        for line in _kernel_matrices()
    ]


def _multiply(one: Points, other: Points, *, transpose_a: bool = False) -> Points:
    """Point by point: TensorFlow takes a third longer for all of them in one operation."""
    return [
        [tf.matmul(a, b, transpose_a=transpose_a) for a, b in zip(*rows, strict=True)]
        for rows in zip(one, other, strict=True)
    ]
