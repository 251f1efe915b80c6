import dataclasses

import numpy as np
import pytest

from dc_keras.data.sources.arrays import ArraySource
from dc_keras.errors import InputError
from dc_keras.evaluation.labelled_images import Split
from dc_keras.evaluation.layers.account import accuracies, method, tables
from dc_keras.evaluation.layers.depth_plot import depth_plot
from dc_keras.evaluation.layers.measure import (
    LayerOptions,
    choose_layer,
    chosen_sentence,
    measure_layers,
)
from dc_keras.evaluation.layers.saved_probes import load_probe, save_probes
from dc_keras.evaluation.linear_probe import linear_probe
from dc_keras.evaluation.tables import markdown_table, plain_table
from dc_keras.models.architectures import build_network
from dc_keras.models.options import NetworkOptions


def bright_and_dark(rng, n):
    """Two classes that any layer tells apart."""
    labels = np.arange(n, dtype=np.int32) % 2
    images = rng.integers(0, 100, (n, 32, 32, 3)) + 150 * labels[:, None, None, None]
    names = [f"{number}" for number in range(n)]
    return ArraySource(images.astype(np.uint8), names, labels, ("dark", "bright"))


def test_every_layer_is_measured_and_saved(tmp_path, rng):
    network = build_network(NetworkOptions(image_size=32, width=1 / 32, use_sobel=False), 4)
    split = Split(bright_and_dark(rng, 30), bright_and_dark(rng, 10), "")
    options = LayerOptions(8, 31, ("relu1_1", "fc7"), tmp_path, tmp_path / "probes")
    figures = measure_layers(network, split, options).figures
    assert figures["layer_relu1_1"] == 1 and figures["layer_fc7_dim"] == 128
    assert sorted(path.name for path in (tmp_path / "probes").iterdir()) == [
        "fc7.npz",
        "relu1_1.npz",
    ]
    assert list(tmp_path.iterdir()) == [tmp_path / "probes"]
    assert load_probe(tmp_path / "probes/fc7.npz").class_names == ("dark", "bright")


@pytest.mark.parametrize("classes", [2, 3])
def test_saved_probes_predict_what_was_measured(tmp_path, rng, classes):
    centers = rng.normal(size=(classes, 5))
    labels = np.arange(90) % classes
    features = (centers[labels] + rng.normal(size=(90, 5))).astype(np.float32)
    found = linear_probe(features[:60], labels[:60], features[60:], labels[60:], seed=31)
    save_probes(tmp_path, {"relu5": found}, ["a", "b", "c"][:classes])
    probe = load_probe(tmp_path / "relu5.npz")
    predicted = probe.predict(features[60:])
    np.testing.assert_array_equal(predicted == labels[60:], found.correct)
    assert 0 < found.correct.mean() == found.accuracy
    with pytest.raises(InputError, match="do not fit the probe"):
        probe.predict(features[:, :3])


def test_files_that_are_no_probes_are_refused(tmp_path):
    path = tmp_path / "fc7.npz"
    np.savez(path, weights=np.array([object()]))
    for _ in range(2):
        with pytest.raises(InputError, match="cannot be read"):
            load_probe(path)
        path.write_bytes(b"PK")


def figures(**accuracy):
    found = {}
    for place, (layer, value) in enumerate(accuracy.items()):
        name = f"layer_{layer}"
        found |= {
            name: value,
            f"{name}_validation": 1 - value,
            f"{name}_c": 0.1,
            f"{name}_dim": 9 - place,
        }
    return found


def test_held_out_training_images_choose_the_layer():
    """The best on test images is the worst on these."""
    sentence = chosen_sentence(figures(relu1=0.9, relu2=0.2, fc7=0.4))
    assert "take: relu2 (8 values), the best of 3" in sentence
    assert "80.0%; 20.0% on test images" in sentence
    assert chosen_sentence({"nmi": 0.1}) == ""
    # Of equals the smaller, of these the deeper.
    assert choose_layer({"a": 0.5, "b": 0.5, "c": 0.5}, {"a": 2, "b": 1, "c": 1}) == "c"


def test_layers_are_lines_of_tables():
    layers = [f"relu{block}_{place}" for block in range(1, 6) for place in (1, 2, 3)]
    rows = {
        "trained": figures(**dict.fromkeys(layers, 0.5)) | {"layer_relu1_1_sd": 0.01},
        "random, calibrated": figures(relu1_1=0.25),
        "supervised": {"nmi": 0.1},
        "pixels of the image": {},
    }
    (table,) = tables(rows)
    lines = plain_table(table, rows)
    assert len(lines) == 2 + 15 + 1 and max(map(len, lines)) <= 80
    assert lines[2].split() == ["relu1_1", "50.0%", "25.0%", "-", "-"]
    assert lines[3].split() == ["±1.0%"]
    marked = markdown_table(table.of(rows), rows)
    assert (
        marked[0] == "| layer | trained | random, calibrated | supervised | pixels of the image |"
    )
    assert marked[2] == "| relu1_1 | 50.0% ±1.0% | 25.0% | - | - |"
    assert "relu1_1 9, relu1_2 8" in method(rows["trained"])[0]
    assert tables({"trained": {"nmi": 0.1}}) == [] == method({"nmi": 0.1})


def test_plot_has_a_line_for_each_network():
    rows = {"trained": figures(relu1=0.5, fc7=0.7), "random": figures(relu1=0.2), "pixels": {}}
    found = depth_plot(accuracies(rows), chance=0.1)
    axes = found.axes[0]
    drawn = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
    np.testing.assert_array_equal(drawn["trained"], [0.5, 0.7])
    np.testing.assert_array_equal(drawn["random"], [0.2, np.nan])
    assert list(drawn) == ["trained", "random", "chance"] and drawn["chance"][0] == 0.1
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["relu1", "fc7"]


def test_results_can_be_compared(rng):
    """Arrays are left out of what equality means."""
    features, labels = rng.normal(size=(40, 3)), np.arange(40) % 2
    found = linear_probe(features, labels, features, labels, seed=31)
    assert found == dataclasses.replace(found, correct=~found.correct)
