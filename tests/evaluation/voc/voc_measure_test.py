"""A network that tells colours, on the miniature, by SVMs; and all figures and lines."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from voc_miniature import write_devkit

from dc_keras.evaluation.tables import markdown_table
from dc_keras.evaluation.voc import account, voc_svm
from dc_keras.evaluation.voc.measure import measure_voc_svm, measure_voc_tuned
from dc_keras.evaluation.voc.voc_images import open_voc
from dc_keras.evaluation.voc.voc_tuning import TuningOptions
from dc_keras.models.architectures import build_network
from dc_keras.models.options import NetworkOptions


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    return open_voc(write_devkit(tmp_path_factory.mktemp("voc")))


def test_svms_on_colours_beat_chance(voc, monkeypatch):
    monkeypatch.setattr(voc_svm, "C_GRID", (1.0, 100.0))
    images = keras.Input((48, 48, 3), dtype="uint8")
    pixels = keras.layers.Rescaling(1 / 255)(images)
    # How much of each pixel is red, green and blue beyond grey.
    colours = keras.layers.LayerNormalization(center=False, scale=False)(pixels)
    maps = keras.layers.ReLU(name="relu")(colours)
    means = keras.layers.GlobalAveragePooling2D(name="fc7")(maps)
    network = keras.Model(images, means)
    layers = {"conv5": "relu", "fc7": "fc7"}
    found = measure_voc_svm(network, voc, layers, batch_size=8, seed=31)
    assert set(found.figures) == {
        f"voc_svm_{layer}{ending}" for layer in layers for ending in ("", "_area", "_envelope")
    }
    # Scores that mean nothing have the share of positives: half of the images or less.
    chance = np.mean([
        (one == 1).sum() / (one != 0).sum() for one in voc.test.labels.T
    ])  # fmt: skip
    assert found.figures["voc_svm_fc7_area"] > 0.9 > chance + 0.2
    details = found.details["voc_svm_fc7"]
    assert json.loads(json.dumps(details)) == details
    assert list(details) == ["ball", "leaf", "pond"]
    assert details["ball"]["c"] in (1.0, 100.0)
    mean = np.mean([one["eleven"] for one in details.values()])
    assert found.figures["voc_svm_fc7"] == pytest.approx(mean)


def test_what_is_fine_tuned_is_measured_without_classes_that_nothing_shows(voc, tmp_path):
    labels = voc.test.labels.copy()
    labels[:, 1] = -1
    voc = dataclasses.replace(voc, test=dataclasses.replace(voc.test, labels=labels))
    network = build_network(
        NetworkOptions(arch="alexnet", image_size=64, width=1 / 64, use_sobel=False), 4
    )
    options = TuningOptions(parts="fc", iterations=1, batch_size=2, crops=1)
    found = measure_voc_tuned(network, voc, options, seed=31, states=tmp_path)
    name = "voc_tuned_fc"
    assert set(found.figures) == {name, f"{name}_area", f"{name}_envelope", f"{name}_loss"}
    assert list(found.details[name]) == ["ball", "pond"]
    assert [file.name for file in tmp_path.iterdir()] == ["tuned_fc.npz"]


def test_tables_and_lines_tell_what_was_measured(voc):
    svm, tuned = account.tables(["conv5", "fc7"], ["all"])
    figures = {"voc_svm_conv5": 0.5, "voc_svm_fc7_area": 0.25, "voc_tuned_all": 0.75}
    (_, _, row) = markdown_table(svm.of({"mine": figures}), {"mine": figures})
    assert row == "| mine | 50.0%  | 25.0%  |".replace("  ", " ")
    assert tuned.of({"mine": figures}).columns[0].key == "voc_tuned_all"
    assert account.tables([]) == []
    few = TuningOptions(parts="fc", iterations=100)
    text = "\n".join(account.method(voc, layers=["fc7"], tuned=[few, TuningOptions()]))
    assert "16 images of trainval" in text and "100 steps of 16" in text
    assert text.count("published schedule") == 1
