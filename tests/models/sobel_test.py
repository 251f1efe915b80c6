"""The front-end against numbers worked out by hand and a naive implementation."""

import numpy as np

from dc_keras.models.sobel import normalize, sobel, sobel_gradients


def naive_sobel(gray):
    """Cross-correlation with both kernels, zeros outside, one pixel after the other."""
    kernels = [
        [[1, 0, -1], [2, 0, -2], [1, 0, -1]],
        [[1, 2, 1], [0, 0, 0], [-1, -2, -1]],
    ]
    height, width = gray.shape
    out = np.zeros((height, width, 2))
    for y in range(height):
        for x in range(width):
            for channel, kernel in enumerate(kernels):
                for dy in range(3):
                    for dx in range(3):
                        yy, xx = y + dy - 1, x + dx - 1
                        if 0 <= yy < height and 0 <= xx < width:
                            out[y, x, channel] += kernel[dy][dx] * gray[yy, xx]
    return out


def test_a_single_bright_pixel():
    # Grey value 3 (mean of 2, 3, 4) in the middle of a 3x3 image. The response at the left
    # neighbour reads the pixel through the kernel's right column: -2 * 3 horizontally.
    pixels = np.zeros((1, 3, 3, 3), "float32")
    pixels[0, 1, 1] = [2, 3, 4]
    gradients = np.asarray(sobel_gradients(pixels))[0]
    assert gradients[1, 0].tolist() == [-6, 0]
    assert gradients[1, 2].tolist() == [6, 0]
    assert gradients[0, 1].tolist() == [0, -6]
    assert gradients[2, 1].tolist() == [0, 6]
    assert gradients[1, 1].tolist() == [0, 0]
    assert gradients[0, 0].tolist() == [-3, -3]


def test_zero_padding_responds_at_the_border():
    # A constant image of 1: inside nothing, at the left border the missing column leaves -4.
    gradients = np.asarray(sobel_gradients(np.ones((1, 5, 5, 3), "float32")))[0]
    np.testing.assert_allclose(gradients[1:-1, 1:-1], 0, atol=1e-6)
    np.testing.assert_allclose(gradients[2, 0], [-4, 0], atol=1e-6)
    np.testing.assert_allclose(gradients[0, 2], [0, -4], atol=1e-6)


def test_against_naive_loops(rng):
    pixels = rng.normal(size=(2, 7, 6, 3)).astype("float32")
    gradients = np.asarray(sobel_gradients(pixels))
    for image, got in zip(pixels, gradients, strict=True):
        # Sums of nine float32 products of size 1.
        np.testing.assert_allclose(got, naive_sobel(image.mean(axis=-1)), atol=1e-5)


def test_normalisation():
    pixels = np.array([[[[0, 128, 255]]]], "uint8")
    want = [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(np.asarray(normalize()(pixels))[0, 0, 0], want, rtol=1e-5)


def test_the_layer_has_nothing_to_train():
    layer = sobel()
    layer(np.zeros((1, 4, 4, 3), "float32"))
    assert layer.weights == []
