import numpy as np
import pytest

from dc_keras.errors import InputError
from dc_keras.evaluation import patches
from dc_keras.evaluation.patches import PatchFeatures, contrast_normalised, fit_patches, zca


def naive_features(found, images):
    """One image, one patch and one centroid at a time, in float64."""
    features = []
    for image in images.astype(np.float64):
        places = len(image) - 5
        quadrants = [[[], []], [[], []]]
        for row in range(places):
            for column in range(places):
                patch = image[row : row + 6, column : column + 6].transpose(2, 0, 1).ravel()
                patch = (patch - patch.mean()) / np.sqrt(patch.var() + 10)
                patch = (patch - found.mean) @ found.whitening
                distances = np.array([np.linalg.norm(patch - one) for one in found.centroids])
                active = np.maximum(0, distances.mean() - distances)
                half = (places + 1) / 2
                quadrants[row >= half - 0.5][column >= half - 0.5].append(active)
        features.append(np.concatenate([np.mean(one, axis=0) for two in quadrants for one in two]))
    return np.array(features)


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (6, 10, 10, 3), np.uint8)


@pytest.mark.parametrize("side", [10, 9])
def test_features_agree_with_the_definition(images, side):
    """With an even and an odd number of places, whose middle belongs to the first half."""
    images = images[:, :side, :side]
    found = fit_patches(images, seed=31, num_centroids=7)
    features = found.apply(images)
    assert features.shape == (6, 28) and features.dtype == np.float32
    # Squared distances near 100 in float32, of which roots near 10 are taken.
    np.testing.assert_allclose(features, naive_features(found, images), atol=1e-4)


def test_triangles_on_paper():
    # A grey image is 0 when its mean is taken away. Distances 0, 3 and 6 have mean 3: the first
    # centroid is nearer by 3, the second as near as the mean, the third farther.
    centroids = np.zeros((3, 108), np.float32)
    centroids[1, 0], centroids[2, 1] = 3, 6
    found = PatchFeatures(np.zeros(108, np.float32), np.eye(108, dtype=np.float32), centroids)
    grey = np.full((1, 7, 7, 3), 99, np.uint8)
    np.testing.assert_allclose(found.apply(grey), [[3, 0, 0] * 4])


def test_blocks_do_not_change_the_features(images, monkeypatch):
    found = fit_patches(images, seed=31, num_centroids=7)
    whole = found.apply(images)
    # 25 places and 7 centroids: blocks of 4 images, the last of 2.
    monkeypatch.setattr(patches, "_BLOCK_CELLS", 4 * 25 * 7)
    np.testing.assert_allclose(found.apply(images), whole, atol=1e-5)


def test_whitening_makes_directions_alike(rng):
    samples = rng.normal(size=(5000, 4)) * [1, 5, 9, 0] @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
    samples -= samples.mean(axis=0)
    matrix = zca(samples.astype(np.float32))
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-5)
    # Eigenvalues l become l / (l + 0.1), and what is constant stays so.
    variances = np.linalg.eigvalsh(np.cov((samples @ matrix).T))
    np.testing.assert_allclose(variances, [0, 1 / 1.1, 25 / 25.1, 81 / 81.1], atol=0.01)


def test_brightness_and_contrast_of_a_patch_do_not_count(rng):
    some = rng.integers(0, 100, (9, 108)).astype(np.uint8)
    # But for the 10 that is added to a variance of some hundreds.
    np.testing.assert_allclose(
        contrast_normalised(some * 2 + 30), contrast_normalised(some), atol=0.05
    )


def test_the_seed_decides(images):
    first, again, other = (
        fit_patches(images, seed=seed, num_centroids=7).centroids for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_images_of_a_single_patch(images):
    images = images[:, :6, :6]
    features = fit_patches(images, seed=31).apply(images)
    # Six patches, so six centroids; each quadrant is that patch.
    np.testing.assert_array_equal(features[:, :6], features[:, 18:])
    # Each is its own centroid.
    assert sorted(features[:, :6].argmax(axis=1)) == list(range(6))


def test_images_without_a_patch_are_refused(images):
    with pytest.raises(InputError, match="of 5 x 5 pixels. Expected at least 6 x 6"):
        fit_patches(images[:, :5, :5], seed=31)
