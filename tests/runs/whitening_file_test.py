"""A whitening that is saved does the same as before."""

import numpy as np
import pytest

from dc_keras.clustering.whitening import fit_whitening
from dc_keras.runs.whitening_file import load_whitening, save_whitening


def test_a_saved_whitening_does_the_same(tmp_path, rng):
    features = (rng.normal(size=(50, 10)) * 0.8 ** np.arange(10)).astype("float32")
    whitening = fit_whitening(features, 4)
    save_whitening(tmp_path / "w.npz", whitening)
    loaded = load_whitening(tmp_path / "w.npz")
    np.testing.assert_array_equal(loaded.apply(features), whitening.apply(features))
    assert loaded.explained_variance == whitening.explained_variance
    assert loaded.effective_rank == whitening.effective_rank


def test_pickles_in_a_file_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", mean=np.array([object()], object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_whitening(tmp_path / "w.npz")
