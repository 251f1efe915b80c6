"""Data that hold little or nothing to cluster, through whole runs and through broken networks.

Each ends in a valid clustering or in an explanation, never in NaN, a hang or a traceback.
"""

import itertools
import json
import math

import numpy as np
import pytest

import textures
from dc_keras.clustering.pseudo_labels import ClusteringOptions
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.stand_ins import SourceWithStandIns
from dc_keras.errors import DegenerateDataError
from dc_keras.models.feature_extractor import FeatureExtractor, feature_model
from dc_keras.models.saved_network import load_network
from dc_keras.training.image_clustering import ImageClusterer
from dc_keras.training.loop import train
from marks import LONG
from tiny import tiny
from trainers import tiny_trainer

CLUSTERS = 12
TINY = [f"--num_clusters={CLUSTERS}", "--batch_size=8"]
MODES = {
    "paper": [],
    "improved": ["--mode=improved"],
    "mixed": ["--mode=improved", "--head_start=redrawn", "--sampler=reweight"],
    "pic": ["--clustering=pic"],
}


def pictures(count):
    images, _ = textures.textures(-(-count // 4))
    return images[:count]


DATA = {
    "as many images as clusters": lambda: pictures(CLUSTERS),
    "one image more": lambda: pictures(CLUSTERS + 1),
    "two images, many times": lambda: pictures(2).repeat(20, axis=0),
    "one image 50 times among 14": lambda: np.concatenate(
        [pictures(14), pictures(1).repeat(50, axis=0)]
    ),
    "flat images of few levels": lambda: np.tile(
        np.repeat(np.arange(0, 250, 50, dtype=np.uint8), 8)[:, None, None, None], (1, 32, 32, 3)
    ),
    "one image among copies of another": lambda: np.concatenate(
        [pictures(1).repeat(30, axis=0), pictures(2)[1:]]
    ),
    "single pixels": lambda: np.arange(60, dtype=np.uint8).reshape(20, 1, 1, 3) * 4,
}
# Each data set in one of the modes by default, in all of them among the slow tests.
CASES = [
    pytest.param(data, mode, id=f"{data}, {mode}", marks=[] if place % 4 == turn else LONG)
    for (place, data), (turn, mode) in itertools.product(enumerate(DATA), enumerate(MODES))
]


@pytest.mark.parametrize(("data", "mode"), CASES)
def test_a_run_ends_well_or_says_why_not(tmp_path, data, mode):
    images = DATA[data]()
    np.savez(tmp_path / "images.npz", images=images)
    config = tiny(tmp_path / "images.npz", tmp_path / "run", *TINY, *MODES[mode])
    try:
        run = train(config)
    except DegenerateDataError as error:
        # Flat images have no gradients, so that only Sobel filters make them all alike.
        assert data == "flat images of few levels" and config.sobel
        assert "alike" in str(error)
        return
    for path in run.assignments.iterdir():
        assignments = np.load(path)
        assert len(assignments) == len(images) and assignments.max() < CLUSTERS
    finite = json.loads(run.metrics.read_text().splitlines()[-1], parse_constant=pytest.fail)
    assert finite["cluster"]["largest"] <= len(images) and math.isfinite(finite["loss"])
    if data == "two images, many times":
        assert finite["cluster"]["empty"] == (0 if mode == "pic" else CLUSTERS - 2)
    network = load_network(run.model / "network.keras")
    assert np.isfinite(network(images[:1].repeat(32, 1).repeat(32, 2)[:, :32, :32])).all()


def cluster_with(change):
    """Clusters textures by the features of a network that was changed."""
    model = tiny_trainer(*TINY)
    change(model)
    images = pictures(40)
    source = ArraySource(images, [str(i) for i in range(len(images))])
    clusterer = ImageClusterer(
        SourceWithStandIns(source, source.names, 0.0, lambda reasons: None),
        FeatureExtractor(feature_model(model, "fc7")),
        ClusteringOptions(num_clusters=CLUSTERS, pca_dim=16, pca_images=100),
        batch_size=16,
        seed=1,
    )
    return clusterer.cluster(0, None)


def set_weight(layer, name, value):
    def change(model):
        weight = getattr(model.get_layer(layer), name)
        changed = weight.numpy()
        changed[..., : value.shape[-1]] = value
        weight.assign(changed)

    return change


@pytest.mark.parametrize(
    ("change", "explanation"),
    [
        (set_weight("fc7", "kernel", np.full(1, np.nan)), "not finite"),
        (set_weight("fc7", "bias", np.full(1, np.inf)), "not finite"),
        # Every ReLU before the fully connected layers is dead.
        (set_weight("bn5_3", "beta", np.full(32, -1e3)), "alike"),
    ],
)
def test_broken_networks_are_explained(change, explanation):
    with pytest.raises(DegenerateDataError, match=explanation):
        cluster_with(change)


def test_features_of_low_rank_are_clustered():
    """All but two of the last channels are dead, so that fc6's inputs have two dimensions."""
    made = cluster_with(set_weight("bn5_3", "beta", np.full(30, -1e3)))
    assert made.clusters.sizes.min() >= 1
    assert np.isfinite(made.clusters.centroids).all()
    assert made.whitening.output_dim <= 16


def test_folders_of_one_image_each(tmp_path):
    images = pictures(16)
    textures.write_folders(
        tmp_path / "images", images, np.arange(16), [f"class {i}" for i in range(16)]
    )
    run = train(tiny(tmp_path / "images", tmp_path / "run", *TINY))
    assert 0 < run.read_metrics()[-1]["cluster"]["nmi_labels"] <= 1


def test_constant_images_are_explained(tmp_path):
    np.savez(tmp_path / "blank.npz", images=np.full((40, 16, 16, 3), 77, "uint8"))
    with pytest.raises(DegenerateDataError, match="alike, so there is nothing to cluster"):
        train(tiny(tmp_path / "blank.npz", tmp_path / "run"))


def test_fewer_distinct_images_than_clusters(tmp_path, warnings_told):
    images, _ = textures.textures(1)
    np.savez(tmp_path / "copies.npz", images=np.repeat(images, 10, axis=0))
    run = train(tiny(tmp_path / "copies.npz", tmp_path / "run"))
    assert warnings_told("2 of 6 clusters stay empty")
    assert all(np.isfinite(record["loss"]) for record in run.read_metrics())
