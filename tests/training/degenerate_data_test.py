"""Data that hold little or nothing to cluster, through whole runs and through broken networks.

Each ends in a valid clustering or in an explanation, never in NaN, a hang or a traceback.
"""

import itertools
import json
import math

import numpy as np
import pytest

import textures
from dc_keras.clustering.features import FeatureExtractor
from dc_keras.config import TrainingConfig
from dc_keras.data.sources import ArraySource
from dc_keras.data.stand_ins import SourceWithStandIns
from dc_keras.errors import DegenerateDataError
from dc_keras.models.deepcluster import feature_model, load_network
from dc_keras.training.recluster import cluster_images
from dc_keras.training.train import build_trainer, train

CLUSTERS = 12
TINY = (
    f"--image_size=32 --width=0.0625 --num_clusters={CLUSTERS} --pca_dim=16 --epochs=2 "
    "--batch_size=8 --crop_min_area=0.5"
).split()
MODES = {
    "paper": ["--fc_init=scaled"],
    "improved": ["--mode=improved"],
    "matched": ["--mode=improved", "--head_start=matched", "--kmeans_warm_start"],
    "pic": ["--fc_init=scaled", "--clustering=pic"],
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
    pytest.param(
        data, mode, id=f"{data}, {mode}", marks=[] if place % 4 == turn else pytest.mark.slow
    )
    for (place, data), (turn, mode) in itertools.product(enumerate(DATA), enumerate(MODES))
]


@pytest.mark.parametrize(("data", "mode"), CASES)
def test_a_run_ends_well_or_says_why_not(tmp_path, data, mode):
    images = DATA[data]()
    np.savez(tmp_path / "images.npz", images=images)
    config = TrainingConfig.from_arguments(
        [*TINY, *MODES[mode], f"--data_dir={tmp_path / 'images.npz'}", f"--run_dir={tmp_path}/run"]
    )
    config.validate()
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
    config = TrainingConfig.from_arguments([*TINY, "--fc_init=scaled"])
    model = build_trainer(config)
    change(model)
    images = pictures(40)
    source = ArraySource(images, [str(i) for i in range(len(images))])
    return cluster_images(
        SourceWithStandIns(source, source.names, 0.0, lambda reasons: None),
        FeatureExtractor(feature_model(model, "fc7")),
        image_size=32,
        batch_size=16,
        num_clusters=CLUSTERS,
        pca_dim=16,
        pca_images=100,
        seed=1,
        turn=0,
    )


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
    assert made.clustering.sizes.min() >= 1
    assert np.isfinite(made.clustering.centroids).all()
    assert made.whitening.output_dim <= 16


def test_folders_of_one_image_each(tmp_path):
    images = pictures(16)
    textures.write_folders(
        tmp_path / "images", images, np.arange(16), [f"class {i}" for i in range(16)]
    )
    run = train(
        TrainingConfig.from_arguments(
            [*TINY, *MODES["paper"], f"--data_dir={tmp_path / 'images'}", f"--run_dir={tmp_path}/r"]
        )
    )
    assert 0 < run.read_metrics()[-1]["cluster"]["nmi_labels"] <= 1
