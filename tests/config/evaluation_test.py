"""Settings of evaluate.py."""

import pytest

from dc_keras.config import EvaluationConfig
from dc_keras.errors import InputError


def test_baselines_are_taken_in_their_order():
    config = EvaluationConfig.from_arguments(["--run_dir=r", "--baseline=random, supervised"])
    config.validate()
    assert config.baselines() == ("random", "supervised")


def test_no_baselines():
    config = EvaluationConfig.from_arguments(["--run_dir=r", "--baseline="])
    config.validate()
    assert config.baselines() == ()


def test_unknown_baselines_are_refused():
    with pytest.raises(
        InputError,
        match="--baseline=best. Expected some of: random, init, pixels, patches, supervised",
    ):
        EvaluationConfig.from_arguments(["--run_dir=r", "--baseline=best"]).validate()


def test_other_runs_are_baselines(tmp_path):
    (tmp_path / "flags.cfg").write_text("")
    config = EvaluationConfig.from_arguments(["--run_dir=r", f"--baseline=pixels,{tmp_path}"])
    config.validate()
    assert config.other_runs() == (str(tmp_path),)


def test_tasks_are_taken_each_once():
    config = EvaluationConfig.from_arguments(["--run_dir=r", "--task=lowshot, knn,lowshot"])
    config.validate()
    assert config.tasks() == ("lowshot", "knn")
    assert EvaluationConfig.from_arguments([]).tasks() == ("clusters", "knn", "linear")


@pytest.mark.parametrize(
    ("task", "words"),
    [("knn,semi", "Unknown task. Received: --task=semi. Expected some of"), (",", "nothing to")],
)
def test_tasks_that_there_are_not_are_refused(task, words):
    with pytest.raises(InputError, match=f"{words}.*clusters, knn, linear, lowshot, separated"):
        EvaluationConfig.from_arguments(["--run_dir=r", f"--task={task}"]).validate()


def test_each_baseline_is_measured_once():
    config = EvaluationConfig.from_arguments(["--run_dir=r", "--baseline=pixels,random,pixels"])
    assert config.baselines() == ("pixels", "random")


def test_a_fraction_to_split_off_beside_test_images_is_refused():
    given = ["--run_dir=r", "--test_dir=t"]
    EvaluationConfig.from_arguments(given).validate()
    with pytest.raises(InputError, match="--test_fraction=0.3 with --test_dir=t. Leave one"):
        EvaluationConfig.from_arguments([*given, "--test_fraction=0.3"]).validate()


def test_virtual_devices_that_would_not_be_used_are_refused():
    given = ["--run_dir=r", "--virtual_devices=2"]
    EvaluationConfig.from_arguments([*given, "--strategy=mirrored"]).validate()
    with pytest.raises(InputError, match="--virtual_devices=2 with --strategy=one"):
        EvaluationConfig.from_arguments([*given, "--strategy=one"]).validate()


@pytest.mark.parametrize("labels", ["folders", "classes.csv"])
def test_labels_for_an_evaluation(labels):
    EvaluationConfig.from_arguments(["--run_dir=r", f"--labels={labels}"]).validate()


@pytest.mark.parametrize(
    ("labels", "message"), [("none", "nothing to compare with"), ("classes", "Invalid --labels")]
)
def test_labels_that_an_evaluation_cannot_use_are_refused(labels, message):
    with pytest.raises(InputError, match=f"{message}[^E]*{labels}"):
        EvaluationConfig.from_arguments(["--run_dir=r", f"--labels={labels}"]).validate()


@pytest.mark.parametrize("name", ["test_fraction", "max_images", "batch_size"])
def test_bad_evaluation_flags(name):
    with pytest.raises(InputError, match=f"--{name}"):
        EvaluationConfig.from_arguments(["--run_dir=r", f"--{name}=0"]).validate()
