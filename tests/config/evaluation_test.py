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
    [("knn,best", "Unknown task. Received: --task=best. Expected some of"), (",", "nothing to")],
)
def test_tasks_that_there_are_not_are_refused(task, words):
    with pytest.raises(
        InputError, match=f"{words}.*clusters, knn, linear, layers, lowshot, semi, voc"
    ):
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


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--voc_dir=v"], "for --task=voc alone. Received: --voc_dir=v with --task=clusters"),
        (["--queries=q", "--longest_side=64"], "--queries=q, --longest_side=64"),
        (["--ten_crops"], "for --task=layers alone"),
        (["--task=layers", "--probe_epochs=3"], "for --probe=sgd alone. Received: --probe_epochs"),
        (["--task=voc", "--voc_dir=v", "--voc_steps=9"], "without --voc_tune. Leave it out"),
        (["--task=voc", "--voc_dir=v", "--voc_tune=fc,head"], "Received: --voc_tune=head. Expec"),
        (["--compare=a,b"], "compared by their reports. Received: --compare with --run_dir=r"),
    ],
)
def test_flags_that_nothing_uses_are_refused(flags, words):
    with pytest.raises(InputError, match=words):
        EvaluationConfig.from_arguments(["--run_dir=r", *flags]).validate()


def test_flags_of_a_task_that_is_asked_for_are_taken():
    flags = ["--task=layers,voc,retrieval", "--probe=sgd", "--ten_crops", "--voc_dir=v"]
    more = ["--voc_tune=all,fc", "--voc_steps=9", "--retrieval_dir=i", "--queries=q"]
    EvaluationConfig.from_arguments(["--run_dir=r", *flags, *more]).validate()


@pytest.mark.parametrize("task", ["voc", "retrieval"])
def test_a_task_with_images_of_its_own_needs_them(task):
    with pytest.raises(InputError, match=f"^--{task}_dir for --task={task} must be given"):
        EvaluationConfig.from_arguments(["--run_dir=r", f"--task={task}"]).validate()


def test_runs_are_compared_without_another_one():
    config = EvaluationConfig.from_arguments(["--compare=a,b,a"])
    config.validate()
    assert config.compared_runs() == ("a", "b")
    with pytest.raises(InputError, match="nothing to compare"):
        EvaluationConfig.from_arguments(["--compare=a"]).validate()
