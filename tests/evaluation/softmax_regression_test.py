import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from dc_keras.evaluation.softmax_regression import fit_softmax, principal_directions


@pytest.mark.parametrize("c", [1e-3, 1.0])
@pytest.mark.parametrize("classes", [2, 4])
def test_finds_the_optimum_of_scikit_learn(rng, c, classes):
    """On features of which a few directions hold most of the variance, as a network's do."""
    labels = np.arange(240) % classes
    spectrum = 10.0 / np.arange(1, 91)
    features = rng.normal(size=(240, 90)) * spectrum + 0.3 * rng.normal(size=(classes, 90))[labels]
    features = (features @ np.linalg.qr(rng.normal(size=(90, 90)))[0]).astype(np.float32)
    features -= features.mean(axis=0)
    found = fit_softmax(features, labels, classes, c, principal_directions(features, rng))
    # Of two classes sklearn fits the difference of logits, whose square counts twice as much.
    exact = LogisticRegression(C=2 * c if classes == 2 else c, tol=1e-10, max_iter=10000)
    exact.fit(features, labels)
    expected = exact.decision_function(features)
    logits = features @ found.weights + found.bias
    if classes == 2:
        logits = logits[:, 1] - logits[:, 0]
    else:
        logits -= logits.mean(axis=1, keepdims=True)
        expected -= expected.mean(axis=1, keepdims=True)
    # The loss is within a thousandth, which is the square of how far logits are off.
    np.testing.assert_allclose(logits, expected, atol=0.05 * np.abs(expected).max())
    assert (found.predict(features) == exact.predict(features)).mean() > 0.98


def test_a_start_changes_nothing_but_the_way(rng):
    features = rng.normal(size=(200, 20)).astype(np.float32)
    labels = np.argmax(features[:, :3] + rng.normal(size=(200, 3)), axis=1)
    directions = principal_directions(features, rng)
    strong = fit_softmax(features, labels, 3, 1e-2, directions)
    cold, warm = (
        fit_softmax(features, labels, 3, 1.0, directions, start) for start in (None, strong)
    )
    np.testing.assert_allclose(warm.weights, cold.weights, atol=0.05)
    again = fit_softmax(features, labels, 3, 1.0, directions, cold)
    np.testing.assert_allclose(again.weights, cold.weights, atol=0.05)
