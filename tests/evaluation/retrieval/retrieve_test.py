import json

import keras
import miniature_oxford
import numpy as np
import pytest

from dc_keras.data.sources.open import open_source
from dc_keras.errors import InputError
from dc_keras.evaluation.retrieval import retrieve
from dc_keras.evaluation.retrieval.account import CELL, method, picture, tables
from dc_keras.evaluation.retrieval.average_precision import average_precision
from dc_keras.evaluation.retrieval.conv_maps import ConvMaps, any_size
from dc_keras.evaluation.retrieval.retrieve import RetrievalProtocol, measure_retrieval
from dc_keras.evaluation.retrieval.search import SearchOptions, open_search, search_classes
from dc_keras.models.architectures import build_network
from dc_keras.models.options import NetworkOptions

# An early layer: the last one sees more than the whole of images as small as these.
COLORS = {"green": [26, 152, 80], "red": [215, 48, 39], "grey": [150, 150, 150]}
PROTOCOL = RetrievalProtocol("relu2_2", longest_side=96)


@pytest.fixture(scope="module")
def network():
    return build_network(NetworkOptions(image_size=32, width=1 / 16), num_clusters=5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folders = tmp_path_factory.mktemp("retrieval")
    names = miniature_oxford.write_images(folders / "images")
    miniature_oxford.write_images(folders / "others", range(50, 56))
    miniature_oxford.write_oxford(folders / "gt")
    graded = [
        # Two of a thing are easy, one is hard; the query is not among the images that are ranked.
        {"bbx": [0, 0, 96, 72], "easy": [3 * n, 3 * n + 1], "hard": [3 * n + 2], "junk": []}
        for n in range(miniature_oxford.THINGS)
    ]
    gnd = {
        "imlist": [name for name in names if name[-1] != "0"],
        "qimlist": [name for name in names if name[-1] == "0"],
        "gnd": graded,
    }
    (folders / "gnd.json").write_text(json.dumps(gnd))
    return folders


def searched(folders, ground_truth="gt"):
    return open_search(
        SearchOptions(
            str(folders / "images"),
            str(folders / ground_truth),
            whiten_dir=str(folders / "others"),
        ),
        None,
    )


def test_near_copies_are_found_by_a_random_network(network, folders, rng):
    """Of 18 images that are no junk two are relevant."""
    search = searched(folders)
    found = measure_retrieval(network, search, PROTOCOL)
    assert sorted(found.figures) == ["retrieval_map"]
    draws = [average_precision(np.sort(rng.choice(18, 2, replace=False)), 2) for _ in range(500)]
    assert np.mean(draws) < 0.25 and found.figures["retrieval_map"] > 0.8
    assert len(found.found) == 5 and all(len(one.best) == 10 for one in found.found)
    assert all(one.query.image not in one.best for one in found.found)
    sheet = picture(search.source, found.found)
    assert sheet.shape == (5 * CELL, 11 * CELL + 8, 3) and sheet.dtype == np.uint8
    for row, one in enumerate(found.found):
        for column, image in enumerate(one.best):
            frame = sheet[row * CELL + 2, (column + 1) * CELL + 8 + 20].tolist()
            color = "green" if image in one.answers.relevant else "red"
            assert frame == COLORS["grey" if image in one.answers.junk else color]


def test_revisited_figures_are_told_apart(network, folders):
    search = searched(folders, "gnd.json")
    figures = measure_retrieval(network, search, PROTOCOL).figures
    expected = {f"retrieval_{setup}" for setup in ("easy", "medium", "hard")}
    expected |= {f"{key}_mp{kappa}" for key in expected for kappa in (1, 5, 10)}
    assert set(figures) == expected
    assert figures["retrieval_medium"] > 0.7
    (table,) = [one.of({"network": figures}) for one in tables(search)]
    assert len(table.columns) == 12
    assert table.title.startswith("Retrieval among 15 images: 5 queries of ")
    told = "\n".join(method(search, PROTOCOL))
    assert f"learned for each network on 24 images of {folders}/others" in told
    assert "Hard: hard ones are" in told


def search_classes_of(folders):
    source = open_source(str(folders / "images"))
    source.labels = np.array([int(name.split("_")[1]) for name in source.names], np.int32)
    source.class_names = tuple("abcde")
    return search_classes(
        source, SearchOptions("", per_class=2), open_source(str(folders / "others"))
    )


@pytest.fixture(scope="module")
def patches():
    """A network of one convolution, whose maps begin at 16 pixels."""
    images = keras.Input((32, 32, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255)(images)
    return keras.Model(images, keras.layers.Conv2D(3, 16, strides=8, name="conv")(scaled))


def test_a_query_without_region_is_the_image_that_is_searched(patches, folders, monkeypatch):
    search = search_classes_of(folders)
    asked = []
    describe = retrieve.Describer.describe

    def watched(self, source, indices, *others):
        asked.append(len(indices))
        return describe(self, source, indices, *others)

    monkeypatch.setattr(retrieve.Describer, "describe", watched)
    protocol = RetrievalProtocol("conv", longest_side=200)
    found = measure_retrieval(patches, search, protocol)
    assert asked == [20, 0] and sorted(found.figures) == ["retrieval_map"]
    assert "at most 2 drawn of each class" in method(search, protocol)[0]
    (told,) = found.remarks
    assert "44 of 44 images were enlarged more than twice, to 200 pixels" in told


def test_images_that_are_too_small_are_filled_up_or_refused(patches, folders):
    source = open_source(str(folders / "images"))
    describer = retrieve.Describer(patches, RetrievalProtocol("conv", longest_side=96))
    boxes = np.array([[0, 0, 96, 72], [10, 10, 50, 20], [90, 0, 96, 60]])
    vectors = list(describer.regions(source, np.array([0, 4, 8]), boxes, "test"))
    assert [one.shape[1] for one in vectors] == [3, 3, 3]
    (told,) = describer.remarks()
    assert told.startswith(
        "Retrieval: 2 of 3 images and regions of interest were lower or narrower than 16 pixels"
    )
    with pytest.raises(InputError, match="too small.*longest side of 12 pixels.*Expected 16"):
        retrieve.Describer(patches, RetrievalProtocol("conv", longest_side=12))


def test_maps_are_those_of_the_network_and_of_any_size(network, rng):
    maps = ConvMaps(network, "relu5_3")
    images = rng.integers(0, 256, (1, 32, 32, 3), np.uint8)
    part = keras.Model(network.input, network.get_layer("relu5_3").output)
    np.testing.assert_allclose(maps(images), part(images, training=False)[0], atol=1e-5)
    assert maps(np.zeros((1, 70, 200, 3), np.uint8)).shape == (4, 12, 32)
    assert maps.least_side == 16
    # Nothing is copied.
    assert any_size(network, "relu5_3").get_layer("conv1_1") is network.get_layer("conv1_1")


def test_networks_that_take_no_other_size_are_refused():
    images = keras.Input((32, 32, 3), dtype="uint8")
    flat = keras.layers.Flatten(name="flat")(keras.layers.Rescaling(1.0, name="scaled")(images))
    network = keras.Model(images, keras.layers.Reshape((4, 4, 192), name="maps")(flat))
    for layer, words in (("maps", "one size alone"), ("flat", "feature maps"), ("x", "no such")):
        with pytest.raises(InputError, match=words):
            ConvMaps(network, layer)
