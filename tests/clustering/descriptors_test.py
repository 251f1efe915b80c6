"""Descriptors of all images, in bounded memory."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from dc_keras.clustering.descriptors import compute_descriptors
from dc_keras.clustering.whitening import fit_whitening
from dc_keras.errors import DegenerateDataError
from repository import REPOSITORY
from thread_workers import together


def fake_extraction(features, log, batch_size=7):
    """An extractor over a matrix of features that notes what it was asked for."""

    def extract(indices):
        log.append(np.array(indices))
        for start in range(0, len(indices), batch_size):
            yield features[indices[start : start + batch_size]]

    return extract


def test_all_images_fit_the_sample(rng):
    features, log = rng.normal(size=(50, 20)).astype("float32"), []
    got = compute_descriptors(fake_extraction(features, log), 50, pca_dim=8, pca_images=50, rng=rng)
    np.testing.assert_allclose(got.values, fit_whitening(features, 8).apply(features), atol=1e-6)
    assert len(log) == 1


def test_pca_on_a_sample(rng):
    features, log = rng.normal(size=(100, 20)).astype("float32"), []
    got = compute_descriptors(
        fake_extraction(features, log), 100, pca_dim=8, pca_images=30, rng=np.random.default_rng(1)
    )
    sample, rest = log
    assert len(sample) == 30 and sorted([*sample, *rest]) == list(range(100)), "each image once"
    np.testing.assert_allclose(
        got.values, fit_whitening(features[sample], 8).apply(features), atol=1e-5
    )


def test_memory_is_bounded_by_sample_and_descriptors():
    """20,000 images of 1,000 features would be 80 MB; 1,000 to fit on are 4 MB."""
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(16, 1000)).astype("float32")

    def extract(indices):
        for start in range(0, len(indices), 100):
            codes = np.random.default_rng(start).normal(
                size=(len(indices[start : start + 100]), 16)
            )
            yield codes.astype("float32") @ basis

    tracemalloc.start()
    try:
        compute_descriptors(extract, 20_000, pca_dim=8, pca_images=1000, rng=rng)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Sample 4 MB, its covariance in float64 8 MB with LAPACK's copies of it, descriptors 0.6 MB.
    assert peak < 45e6, f"{peak / 1e6:.0f} MB"


@pytest.mark.parametrize("where", [3, 45])
def test_features_that_are_not_finite(rng, where):
    features = rng.normal(size=(50, 20)).astype("float32")
    features[where, 2] = np.nan
    with pytest.raises(DegenerateDataError, match="not finite.*lower --learning_rate"):
        compute_descriptors(fake_extraction(features, []), 50, pca_dim=8, pca_images=20, rng=rng)


UNDER_A_LIMIT = """
import resource
import numpy as np
from dc_keras.clustering.descriptors import compute_descriptors
from dc_keras.errors import InputError

with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (256 << 20), -1))

def extract(indices):
    yield np.zeros((10, 1000), np.float32)
    raise SystemExit("it went on")

try:
    compute_descriptors(
        extract, 100_000, pca_dim=8, pca_images=100_000, rng=np.random.default_rng(0)
    )
except InputError as error:
    print(error)
"""


def test_features_that_do_not_fit_into_memory_are_refused_before_they_are_extracted():
    done = subprocess.run(
        [sys.executable, "-c", UNDER_A_LIMIT], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert "0.4 GB, of 0." in done.stdout, done.stderr
    assert "left by ulimit -v" in done.stdout and "--pca_images" in done.stdout


@pytest.mark.parametrize("pca_images", [100, 30, 2])
def test_workers_share_the_work_and_find_the_same(rng, pca_images):
    features = rng.normal(size=(100, 20)).astype("float32")

    def compute(log, **more):
        return compute_descriptors(
            fake_extraction(features, log),
            100,
            pca_dim=8,
            pca_images=pca_images,
            rng=np.random.default_rng(1),
            **more,
        )

    alone = compute([])
    logs = [[], [], []]
    found = together(3, lambda worker: compute(logs[worker.rank], workers=worker))
    asked = [np.concatenate(log) for log in logs]
    assert sorted(np.concatenate(asked)) == list(range(100)), "each image once, by one of them"
    assert {len(images) for images in asked} == {33, 34}
    for rank, one in enumerate(found):
        assert len(one.values.own) == len(asked[rank])
        np.testing.assert_array_equal(one.whitening.projection, alone.whitening.projection)
        # Products of matrices are rounded as their number of rows has it.
        own = alone.values[one.values.first : one.values.end]
        np.testing.assert_allclose(one.values.own, own, atol=1e-6)
