"""What is taken for collapse, and what the run does about it."""

import re

import keras
import numpy as np
import pytest

import textures
from dc_keras.config import TrainingConfig
from dc_keras.errors import DegenerateDataError
from dc_keras.training.collapse import check_loss, check_weights, signs_of_collapse
from dc_keras.training.run_state import RunDirectory
from dc_keras.training.train import train

HEALTHY = {
    "clusters": 100,
    "largest_fraction": 0.05,
    "normalized_entropy": 0.95,
    "effective_rank": 30.0,
    "churn": 0.4,
    "views_retrieved": 0.5,
}
TINY = (
    "--image_size=32 --width=0.0625 --fc_init=scaled --num_clusters=12 --pca_dim=16 "
    "--batch_size=16 --crop_min_area=0.5"
).split()


def turns(*changes):
    return [{**HEALTHY, **change} for change in changes]


def test_a_healthy_run_has_no_signs():
    assert signs_of_collapse([HEALTHY], 0.3) == {}
    assert signs_of_collapse(turns(*[{}] * 10), 0.3) == {}


@pytest.mark.parametrize(
    ("reports", "cause", "says"),
    [
        (turns({"largest_fraction": 0.31}), "cluster", "31%.*--max_cluster_fraction=0.3"),
        (turns({"normalized_entropy": 0.49}), "entropy", "49%"),
        (turns({}, {"effective_rank": 1.4}), "rank", "1.40"),
        (turns({}, *[{"churn": 0.96}] * 3), "churn", "3 clusterings"),
        (turns({}, {}, {"views_retrieved": 0.24}), "views", "24%.*50%"),
    ],
)
def test_each_sign_has_its_cause_and_a_remedy(reports, cause, says):
    signs = signs_of_collapse(reports, 0.3)
    assert list(signs) == [cause]
    assert re.search(says, signs[cause])
    assert " Use " in signs[cause]
    assert signs_of_collapse([*reports, HEALTHY, HEALTHY], 0.3) == {}, "it passes"


def test_what_is_no_sign():
    # The first clustering has none before it; a run that goes on may know no views.
    first = {name: HEALTHY[name] for name in HEALTHY.keys() - {"churn", "views_retrieved"}}
    assert signs_of_collapse([first], 0.3) == {}
    assert signs_of_collapse(turns({}, {"churn": 1.0}, {"churn": 1.0}), 0.3) == {}
    # Of two clusters one is always the larger.
    assert signs_of_collapse(turns({"clusters": 2, "largest_fraction": 0.9}), 0.3) == {}


def test_a_loss_that_is_not_finite():
    check_loss(3.0, "step 1 of epoch 1")
    for loss in (np.nan, np.inf):
        with pytest.raises(DegenerateDataError, match=f"{loss} at step 7 of epoch 2.*--resume"):
            check_loss(loss, "step 7 of epoch 2")


def test_weights_that_are_not_finite():
    model = keras.Sequential([keras.Input([2]), keras.layers.Dense(2, name="inner")])
    check_weights(model, "")
    kernel = model.get_layer("inner").kernel
    kernel.assign(np.array([[0, 1], [np.nan, 2]], np.float32))
    with pytest.raises(DegenerateDataError, match=r"inner/kernel at the end of epoch 3"):
        check_weights(model, "the end of epoch 3")


@pytest.fixture
def copies(tmp_path):
    """Fifty copies of one image among 70."""
    images, _ = textures.textures(5)
    path = tmp_path / "copies.npz"
    np.savez(path, images=np.concatenate([images, images[:1].repeat(50, axis=0)]))
    return path


def test_a_run_that_collapses_warns_once_or_stops(tmp_path, copies, caplog):
    flags = [*TINY, f"--data_dir={copies}", f"--run_dir={tmp_path / 'run'}", "--epochs=2"]
    with pytest.raises(DegenerateDataError, match=r"epoch 1.*One cluster holds 7\d% of the images"):
        train(TrainingConfig.from_arguments([*flags, "--on_collapse=stop"]))
    run = train(TrainingConfig.from_arguments(flags))
    told = [r.getMessage() for r in caplog.records if "One cluster holds" in r.getMessage()]
    assert len(told) == 1 and told[0].startswith("Epoch 1: ")
    assert [record["cluster"]["largest_fraction"] > 0.7 for record in run.read_metrics()] == [1, 1]
    # It is allowed, where it is meant to be so.
    caplog.clear()
    train(TrainingConfig.from_arguments([*flags, "--epochs=3", "--max_cluster_fraction=0.9"]))
    assert not [r for r in caplog.records if "One cluster holds" in r.getMessage()]


def test_a_run_that_diverges_ends_and_keeps_its_last_good_checkpoint(tmp_path):
    images, _ = textures.textures(16)
    np.savez(tmp_path / "images.npz", images=images)
    flags = [*TINY, f"--data_dir={tmp_path / 'images.npz'}"]
    good = train(
        TrainingConfig.from_arguments([*flags, f"--run_dir={tmp_path / 'a'}", "--epochs=1"])
    )
    checkpoint = good.newest_checkpoints()[0]
    diverging = [*flags, f"--run_dir={tmp_path / 'b'}", "--epochs=6", "--learning_rate=1e30"]
    with pytest.raises(DegenerateDataError, match="diverged. Received: .* at .*epoch"):
        train(TrainingConfig.from_arguments([*diverging, f"--resume={checkpoint}"]))
    for path in RunDirectory(tmp_path / "b").newest_checkpoints():
        with np.load(path / "weights.npz") as weights:
            assert all(np.isfinite(weights[name]).all() for name in weights)
    # What the message advises works.
    settled = [*flags, f"--run_dir={tmp_path / 'c'}", "--epochs=2", "--learning_rate=0.01"]
    assert len(
        train(TrainingConfig.from_arguments([*settled, f"--resume={checkpoint}"])).read_metrics()
    )
