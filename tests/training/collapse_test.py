"""What is taken for collapse, and what the run does about it."""

import re

import keras
import numpy as np
import pytest

import textures
from dc_keras.errors import DegenerateDataError
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.training.collapse import (
    CollapseGuard,
    check_loss,
    check_weights,
    signs_of_collapse,
)
from dc_keras.training.loop import make_guard, train
from tiny import tiny
from turns import turn_of

HEALTHY = {
    "clusters": 100,
    "largest_fraction": 0.05,
    "normalized_entropy": 0.95,
    "effective_rank": 30.0,
    "churn": 0.4,
    "views_retrieved": 0.5,
}


def reports_of(*changes):
    return [{**HEALTHY, **change} for change in changes]


def test_a_healthy_run_has_no_signs():
    assert signs_of_collapse([HEALTHY], 0.3) == {}
    assert signs_of_collapse(reports_of(*[{}] * 10), 0.3) == {}


@pytest.mark.parametrize(
    ("reports", "cause", "says"),
    [
        (reports_of({"largest_fraction": 0.31}), "cluster", "31%.*--max_cluster_fraction=0.3"),
        (reports_of({"normalized_entropy": 0.49}), "entropy", "49%"),
        (reports_of({}, {"effective_rank": 1.4}), "rank", "1.40"),
        (reports_of({}, *[{"churn": 0.96}] * 3), "churn", "3 clusterings"),
        (reports_of({}, {}, {"views_retrieved": 0.24}), "views", "24%.*50%"),
    ],
)
def test_each_sign_has_its_cause_and_a_remedy(reports, cause, says):
    signs = signs_of_collapse(reports, 0.3)
    assert list(signs) == [cause]
    assert re.search(says, signs[cause])
    assert " Use " in signs[cause]
    assert signs_of_collapse([*reports, HEALTHY, HEALTHY], 0.3) == {}, "it passes"


def test_remedies_that_are_in_use_are_not_advised():
    reports = reports_of(
        {}, {}, {"effective_rank": 1, "views_retrieved": 0, "largest_fraction": 0.9}
    )
    advised = " ".join(signs_of_collapse(reports, 0.3, mode="paper", sampler="natural").values())
    assert advised.count("--mode=improved") == 2 and advised.count("--sampler=uniform") == 1
    signs = signs_of_collapse(reports, 0.3, mode="improved", sampler="uniform")
    assert set(signs) == {"cluster", "rank", "views"}
    for text in signs.values():
        assert "Use a lower --learning_rate" in text
        assert "--mode" not in text and "--sampler" not in text


def test_the_guard_knows_what_is_in_use(tmp_path):
    images = tmp_path / "images"
    config = tiny(images, tmp_path / "run", "--mode=improved", "--on_collapse=stop")
    watching = make_guard(config, RunDirectory(tmp_path / "run"))
    with pytest.raises(DegenerateDataError) as told:
        watching.begin_turn(turn_with(0, effective_rank=1.0, largest_fraction=0.5))
    assert "--mode=" not in str(told.value) and "--sampler=" not in str(told.value)


def test_the_guard_stands_records_without_figures_of_clusters(tmp_path):
    run = RunDirectory(tmp_path)
    for record in ({}, {"cluster": None}, {"cluster": {}}, {"cluster": HEALTHY}):
        run.append_metrics({"epoch": 1 + len(run.read_metrics()), **record})
    guard = make_guard(tiny("images", tmp_path), run)
    guard.begin_turn(turn_with(4, **HEALTHY))


def test_the_first_clustering_has_none_before_it():
    first = {name: HEALTHY[name] for name in HEALTHY.keys() - {"churn", "views_retrieved"}}
    assert signs_of_collapse([first], 0.3) == {}


def test_two_clusterings_that_change_everything_are_no_sign():
    assert signs_of_collapse(reports_of({}, {"churn": 1.0}, {"churn": 1.0}), 0.3) == {}


def test_of_two_clusters_one_is_always_the_larger():
    assert signs_of_collapse(reports_of({"clusters": 2, "largest_fraction": 0.9}), 0.3) == {}


def turn_with(epoch, clustered=True, **figures):
    """A turn whose clustering has these figures, healthy but for those that are given."""
    figures = {**HEALTHY, **figures} if clustered else {}
    return turn_of([0, 1, 2], epoch=epoch, figures=figures, clustered=clustered)


def guard(earlier=(), *, stop=False):
    return CollapseGuard(dict(earlier), max_cluster_fraction=0.3, stop=stop)


def test_each_cause_is_told_once(warnings_told):
    watching = guard()
    for epoch in range(3):
        watching.begin_turn(turn_with(epoch, largest_fraction=0.5))
    watching.begin_turn(turn_with(3, largest_fraction=0.5, effective_rank=1.0))
    (cluster,), (rank,) = warnings_told("One cluster holds"), warnings_told("one direction")
    assert cluster.startswith("Epoch 1: ") and rank.startswith("Epoch 4: ")


def test_a_run_is_ended_where_that_is_asked_for():
    watching = guard(stop=True)
    watching.begin_turn(turn_with(0))
    message = "Stopped at the beginning of epoch 2, as --on_collapse=stop says: One cluster holds 5"
    with pytest.raises(DegenerateDataError, match=message):
        watching.begin_turn(turn_with(1, largest_fraction=0.5))


def test_epochs_without_a_clustering_say_nothing():
    watching = guard(stop=True)
    watching.begin_turn(turn_with(0))
    watching.begin_turn(turn_with(1, clustered=False))


def test_a_run_that_goes_on_is_judged_by_its_first_clusterings_too():
    earlier = {0: HEALTHY, 1: {**HEALTHY, "views_retrieved": 0.9}, 2: HEALTHY}
    with pytest.raises(DegenerateDataError, match="only 40% of them .* after 90%"):
        guard(earlier, stop=True).begin_turn(turn_with(3, views_retrieved=0.4))
    guard(stop=True).begin_turn(turn_with(3, views_retrieved=0.4))


def test_views_that_the_untrained_network_found_are_no_measure():
    """Its statistics of no images are lost without anything being learned, and no sign of it."""
    reports = reports_of({"views_retrieved": 0.9}, {"views_retrieved": 0.1}, {})
    assert signs_of_collapse(reports, 0.3) == {}


def test_a_clustering_that_is_taken_up_counts_once():
    """Its figures are among those of the run already where it was told before."""
    earlier = {epoch: {**HEALTHY, "churn": 1.0} for epoch in (1, 2)}
    guard(earlier, stop=True).begin_turn(turn_with(2, churn=1.0))
    with pytest.raises(DegenerateDataError, match="for 3 clusterings"):
        guard(earlier, stop=True).begin_turn(turn_with(3, churn=1.0))


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


def test_a_run_that_collapses_is_ended_where_that_is_asked_for(tmp_path, copies):
    config = tiny(copies, tmp_path / "run", "--num_clusters=12", "--on_collapse=stop")
    with pytest.raises(DegenerateDataError, match=r"epoch 1.*One cluster holds 7\d% of the images"):
        train(config)


@pytest.mark.parametrize(
    ("flag", "warnings"), [("--on_collapse=warn", 1), ("--max_cluster_fraction=0.9", 0)]
)
def test_a_run_that_was_ended_goes_on_with_a_warning_or_with_large_clusters(
    tmp_path, copies, warnings_told, flag, warnings
):
    flags = [copies, tmp_path / "run", "--num_clusters=12"]
    with pytest.raises(DegenerateDataError):
        train(tiny(*flags, "--on_collapse=stop"))
    run = train(tiny(*flags, flag))
    told = warnings_told("One cluster holds")
    assert len(told) == warnings and all(message.startswith("Epoch 1: ") for message in told)
    assert [record["cluster"]["largest_fraction"] > 0.7 for record in run.read_metrics()] == [1, 1]


@pytest.fixture
def diverging(tmp_path):
    """Settings of a run that begins well, and of one that goes on from it and diverges."""
    images, _ = textures.textures(16)
    np.savez(tmp_path / "images.npz", images=images)
    flags = [tmp_path / "images.npz", tmp_path / "run", "--num_clusters=12"]
    good = train(tiny(flags[0], tmp_path / "good", *flags[2:], "--epochs=1"))
    return [*flags, f"--resume={good.newest_checkpoints()[0]}"]


def test_a_run_that_diverges_ends_and_keeps_its_last_good_checkpoint(tmp_path, diverging):
    with pytest.raises(DegenerateDataError, match="diverged. Received: .* at .*epoch"):
        train(tiny(*diverging, "--epochs=6", "--learning_rate=1e30"))
    for path in RunDirectory(tmp_path / "run").newest_checkpoints():
        with np.load(path / "weights.npz") as weights:
            assert all(np.isfinite(weights[name]).all() for name in weights)


def test_from_the_last_good_checkpoint_a_lower_learning_rate_works(diverging):
    """As the message advises."""
    run = train(tiny(*diverging, "--epochs=2", "--learning_rate=0.01"))
    (record,) = run.read_metrics()
    assert record["epoch"] == 2 and np.isfinite(record["loss"])
