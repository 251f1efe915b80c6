"""PCA-whitening against NumPy's eigenvectors, numbers on paper, and features that break others."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dc_keras.clustering import whitening as module
from dc_keras.clustering.whitening import fit_whitening
from dc_keras.errors import DegenerateDataError


def naive_descriptors(features, dim):
    """The definition, with NumPy's full eigenproblem in float64."""
    centered = features.astype("float64") - features.mean(axis=0, dtype="float64")
    eigenvalues, vectors = np.linalg.eigh(np.cov(centered.T, bias=True))
    projected = centered @ (vectors[:, ::-1] / np.sqrt(np.abs(eigenvalues[::-1])))[:, :dim]
    return projected / np.linalg.norm(projected, axis=1, keepdims=True)


def gram(descriptors):
    """Cosines between images: free of the signs and rotations of eigenvectors."""
    return descriptors @ descriptors.T


def decaying(rng, n, d, rate=20.0, offset=0.0):
    """Features with a falling spectrum, as networks have."""
    scales = np.exp(-np.arange(d) / rate)
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return ((rng.normal(size=(n, d)) * scales) @ rotation + offset).astype("float32")


def test_by_hand():
    # Variances 4 and 1 along the axes: whitened to the same, so (2, 1) becomes (1, 1)/sqrt(2).
    features = np.array([[2, 1], [2, -1], [-2, 1], [-2, -1]], "float32") + 10
    whitening = fit_whitening(features, 2)
    np.testing.assert_allclose(whitening.eigenvalues, [4, 1], rtol=1e-6)
    descriptors = whitening.apply(features)
    np.testing.assert_allclose(np.abs(descriptors), 0.5**0.5, rtol=1e-6)
    assert whitening.explained_variance == pytest.approx(1.0)
    # Entropy of (0.8, 0.2).
    assert whitening.effective_rank == pytest.approx(np.exp(-0.8 * np.log(0.8) - 0.2 * np.log(0.2)))


@pytest.mark.parametrize(("n", "d"), [(300, 40), (60, 100)], ids=["tall", "wide"])
def test_against_numpy(rng, n, d):
    features = decaying(rng, n, d, offset=3.0)
    got = fit_whitening(features, 16).apply(features)
    # float32 projection of float32 features.
    np.testing.assert_allclose(gram(got), gram(naive_descriptors(features, 16)), atol=2e-4)


@pytest.mark.parametrize(
    ("n", "d", "dim", "rate"),
    [(500, 200, 16, 10.0), (60, 200, 16, 10.0), (300, 100, 40, 10.0), (300, 100, 100, 20.0)],
    ids=["tall", "wide", "blocks fill the space", "one block fills the space"],
)
def test_top_directions_only_agree_with_all(rng, monkeypatch, n, d, dim, rate):
    """The Krylov subspace of large features holds the same directions."""
    features = decaying(rng, n, d, rate=rate)
    exact = fit_whitening(features, dim)
    monkeypatch.setattr(module, "_EXACT_SIZE", 1)
    top = fit_whitening(features, dim)
    np.testing.assert_allclose(top.eigenvalues, exact.eigenvalues, rtol=1e-4)
    np.testing.assert_allclose(gram(top.apply(features)), gram(exact.apply(features)), atol=1e-3)


def test_centring_in_place_gives_the_same(rng):
    features = decaying(rng, 200, 30, offset=5.0)
    want = fit_whitening(features, 8)
    buffer = features.copy()
    got = fit_whitening(buffer, 8, copy=False)
    np.testing.assert_allclose(got.apply_centered(buffer), want.apply(features), atol=1e-6)


def test_null_directions_are_left_out(rng):
    """Rank 10 with a large offset: the public code scales round-off to unit variance here."""
    features = (rng.normal(size=(400, 10)) @ rng.normal(size=(10, 64)) + 100).astype("float32")
    whitening = fit_whitening(features, 32)
    assert whitening.output_dim == 10
    np.testing.assert_allclose(
        gram(whitening.apply(features)), gram(naive_descriptors(features, 10)), atol=1e-2
    )


def test_dead_units(rng):
    features = decaying(rng, 100, 20)
    features[:, ::2] = 0
    whitening = fit_whitening(features, 20)
    assert whitening.output_dim == 10
    assert np.isfinite(whitening.apply(features)).all()


def test_few_images_give_few_dimensions(rng):
    assert fit_whitening(rng.normal(size=(5, 50)).astype("float32"), 256).output_dim == 4


@pytest.mark.parametrize("value", [0.0, 1.0, 3.7e4])
def test_constant_features_are_refused(value):
    with pytest.raises(DegenerateDataError, match="alike, so there is nothing to cluster"):
        fit_whitening(np.full((50, 8), value, "float32"), 4)


def test_an_image_at_the_mean_stays_zero(rng):
    features = decaying(rng, 50, 10)
    whitening = fit_whitening(features, 4)
    assert not whitening.apply(whitening.mean[None]).any()


@settings(max_examples=40)
@given(
    n=st.integers(3, 60),
    d=st.integers(2, 40),
    dim=st.integers(1, 50),
    rank=st.integers(1, 40),
    offset=st.sampled_from([0.0, 1.0, 1000.0]),
    scale=st.sampled_from([1e-30, 1.0, 1e30]),
    seed=st.integers(0, 1000),
    exact_size=st.sampled_from([1, 2048]),
)
def test_descriptors_are_white_and_of_unit_length(n, d, dim, rank, offset, scale, seed, exact_size):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d)) + offset
    features = (features * scale).astype("float32")
    with mock.patch.object(module, "_EXACT_SIZE", exact_size):
        whitening = fit_whitening(features, dim)
    assert whitening.output_dim <= min(dim, n - 1, rank, d)
    descriptors = whitening.apply(features)
    assert descriptors.dtype == np.float32 and descriptors.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(descriptors, axis=1), 1, atol=1e-5)
    projected = (features - whitening.mean).astype("float64") @ whitening.projection
    # Unit covariance, up to float32 features with an offset of up to 1000.
    np.testing.assert_allclose(
        projected.T @ projected / n, np.eye(whitening.output_dim), atol=0.05 if offset > 1 else 1e-2
    )


def test_without_whitening_distances_are_those_of_the_features(rng):
    features = decaying(rng, 60, 8)
    projection = fit_whitening(features, 8, whiten=False)
    centered = features - features.mean(axis=0)
    np.testing.assert_allclose(
        gram(centered @ projection.projection), gram(centered), rtol=1e-4, atol=1e-4
    )
    expected = centered / np.linalg.norm(centered, axis=1, keepdims=True)
    np.testing.assert_allclose(gram(projection.apply(features)), gram(expected), atol=1e-4)


@pytest.fixture(params=[True, False], ids=["whitened", "PCA alone"])
def fitted(request, rng):
    """Features, and a projection of half of their dimensions."""
    features = (decaying(rng, 200, 12) + 5).astype("float32")
    return features, fit_whitening(features, 6, whiten=request.param)


def test_features_at_descriptors_have_those_descriptors(fitted):
    features, whitening = fitted
    descriptors = whitening.apply(features)
    back = whitening.features_at(descriptors)
    np.testing.assert_allclose(whitening.apply(back), descriptors, atol=1e-4)


def test_features_at_no_descriptor_are_the_mean(fitted):
    _, whitening = fitted
    np.testing.assert_allclose(whitening.features_at(np.zeros((1, 6)))[0], whitening.mean)


def test_features_at_descriptors_are_of_usual_length(fitted):
    features, whitening = fitted
    back = whitening.features_at(whitening.apply(features))
    lengths = np.linalg.norm((back - whitening.mean) @ whitening.projection, axis=1)
    projected = np.linalg.norm((features - whitening.mean) @ whitening.projection, axis=1)
    np.testing.assert_allclose(lengths, (projected**2).mean() ** 0.5, rtol=1e-3)
