"""Pictures of filters: what they are on pixels, and their colours."""

import numpy as np
from scipy.signal import correlate2d

from dc_keras.exploring.look.first_layer import filter_pictures, filters_on_pixels
from dc_keras.models.sobel import sobel_gradients


def test_a_filter_on_pixels_does_what_sobel_and_the_filter_do(rng):
    kernel = rng.normal(size=(3, 3, 2, 1)).astype(np.float32)
    grey = rng.normal(size=(9, 8)).astype(np.float32)
    gradients = np.asarray(sobel_gradients(grey[None, :, :, None].repeat(3, axis=-1)))[0]
    # Away from the border, which Sobel's filters see padded.
    inner = gradients[1:-1, 1:-1]
    expected = sum(correlate2d(inner[..., i], kernel[:, :, i, 0], "valid") for i in range(2))
    found = correlate2d(grey, filters_on_pixels(kernel)[..., 0], "valid")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_filters_of_colours_are_pictures_in_colours():
    kernel = np.zeros((1, 2, 3, 2), np.float32)
    kernel[0, 0, :, 0] = 2, -1, 0
    (first,), (second,) = filter_pictures(kernel, behind_sobel=False)
    # 127.5 +- 127.5 of the largest weight; half of it is a quarter of the way.
    assert first.tolist() == [[[255, 64, 128], [128, 128, 128]]]
    # A filter of zeros is grey, not a division by zero.
    assert second.tolist() == [[[128] * 3, [128] * 3]]


def test_filters_of_gradients_have_three_pictures_of_one_scale():
    kernel = np.zeros((3, 3, 2, 1), np.float32)
    kernel[1, 1, 0] = 2
    kernel[1, 1, 1] = -1
    ((across, down, pixels),) = filter_pictures(kernel, behind_sobel=True)
    assert across[1, 1].tolist() == [255] * 3 and down[1, 1].tolist() == [64] * 3
    assert pixels.shape == (5, 5, 3)
    assert len(filter_pictures(kernel, behind_sobel=False)[0]) == 2
