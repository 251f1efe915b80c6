"""What counts as an answer that agrees, and what is said where there is nothing to compare."""

import json

import numpy as np
import pytest
import tensorflow as tf

from dc_keras.data.sources.arrays import ArraySource
from dc_keras.errors import InputError
from dc_keras.serving.serve_check import compared, encoded, serve_check


def answers(**changes):
    found = {
        "serving_default/features": np.float32([[1, 2], [3, 4], [0, 0]]),
        "serving_default/status": np.array([b"", b"", b"no image"]),
        "assign/cluster": np.int32([5, 6, -1]),
        "assign/status": np.array([b"", b"", b"no image"]),
    }
    return found | {name.replace("__", "/"): values for name, values in changes.items()}


EXPECTED = {
    "serving_default/features": np.float32([[1, 2], [3, 4]]),
    "assign/cluster": np.int32([5, 6]),
}


def test_the_same_bits_agree():
    found = compared(answers(), EXPECTED)
    assert [(c.output, c.same_bits, c.agrees) for c in found] == [
        ("serving_default/features", True, True),
        ("assign/cluster", True, True),
    ]


@pytest.mark.parametrize(("by", "agrees"), [(4e-6, True), (4e-4, False)])
def test_round_off_agrees_and_more_does_not(by, agrees):
    features = np.float32([[1, 2], [3, 4 + by], [0, 0]])
    found = compared(answers(serving_default__features=features), EXPECTED)[0]
    assert not found.same_bits
    assert found.largest_difference == pytest.approx(by / 4, rel=0.1)
    assert found.agrees is agrees


def test_a_cluster_that_differs_does_not_agree():
    found = compared(answers(assign__cluster=np.int32([5, 7, -1])), EXPECTED)[1]
    assert found.largest_difference == 0.5 and not found.agrees


def test_features_of_another_size_do_not_agree():
    found = compared(answers(serving_default__features=np.zeros((3, 5))), EXPECTED)[0]
    assert not found.agrees


def test_an_output_that_is_missing():
    found = answers()
    del found["assign/cluster"]
    with pytest.raises(InputError, match="without assign/cluster. Export the run again"):
        compared(found, EXPECTED)


@pytest.mark.parametrize("status", [[b"", b"damaged", b"no image"], [b"", b"", b""]])
def test_other_images_refused_than_should_be(status):
    with pytest.raises(InputError, match="The model refuses other images"):
        compared(answers(assign__status=np.array(status)), EXPECTED)


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_become_files(rng, channels):
    images = rng.integers(0, 256, (2, 9, 7, channels), dtype="uint8")
    found = tf.io.decode_png(encoded(ArraySource(images, ["a", "b"]), 1))
    np.testing.assert_array_equal(found, np.broadcast_to(images[1], (9, 7, 3)))


def test_no_model(tmp_path):
    with pytest.raises(InputError, match="There is no exported model"):
        serve_check(str(tmp_path / "none"))


@pytest.mark.parametrize("content", [None, "{", "[]", json.dumps({"format": 1})])
def test_a_model_that_does_not_say_of_which_run_it_is(tmp_path, content):
    version = tmp_path / "3"
    (version / "assets.extra").mkdir(parents=True)
    (version / "saved_model.pb").touch()
    if content is not None:
        (version / "assets.extra" / "export.json").write_text(content)
    with pytest.raises(InputError, match="does not say of which run it is.*--run_dir=RUN"):
        serve_check(str(tmp_path))
