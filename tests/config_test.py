"""Flags, flagfiles and their validation."""

import dataclasses
import os
import pathlib
import subprocess
import sys

import pytest

from dc_keras.config import (
    MODES,
    AssignConfig,
    EvaluationConfig,
    ExportConfig,
    TorchWeightsConfig,
    TrainingConfig,
)
from dc_keras.errors import InputError

REPOSITORY = pathlib.Path(__file__).parent.parent
VALID = ["--data_dir=images", "--run_dir=run"]


def test_defaults_are_the_papers():
    config = TrainingConfig.from_arguments(VALID)
    config.validate()
    assert (config.image_size, config.num_clusters, config.pca_dim) == (224, 10000, 256)
    assert (config.epochs, config.batch_size, config.reassign) == (500, 256, 1.0)
    assert (config.learning_rate, config.momentum, config.weight_decay) == (0.05, 0.9, 1e-5)
    assert (config.sobel, config.dropout, config.width) == (True, 0.5, 1.0)
    assert (config.kmeans_iterations, config.fc_init) == (20, "published")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image_size=100"], "--image_size. Received: 100. Expected a multiple of 32, .* 96"),
        (["--image_size=0"], "multiple of 32, such as 32"),
        (["--arch=alexnet", "--image_size=62"], "at least 63 for --arch=alexnet"),
        (["--arch=resnet50"], "arch"),
        (["--num_clusters=1"], "--num_clusters. Received: 1. Expected at least 2"),
        (["--reassign=0"], "--reassign. Received: 0.0"),
        (["--reassign=3", "--epochs=2"], "at most --epochs=2"),
        (["--pca_images=100"], "more images than --pca_dim=256"),
        (["--learning_rate=-1"], "--learning_rate. Received: -1.0"),
        (["--learning_rate=nan"], "--learning_rate. Received: nan"),
        (["--momentum=1"], "--momentum"),
        (["--width=0"], "--width. Received: 0.0"),
        (["--dropout=1"], "--dropout"),
        (["--crop_min_area=0"], "--crop_min_area"),
        (["--max_bad_fraction=1"], "--max_bad_fraction"),
        (["--virtual_devices=1"], "--virtual_devices"),
        (["--sampler=balanced"], "sampler"),
        (["--clustering=spectral"], "clustering"),
        (["--kmeans_init=first"], "kmeans_init"),
        (["--kmeans_nredo=0"], "--kmeans_nredo. Received: 0. Expected at least 1"),
        (["--kmeans_max_points=-1"], "--kmeans_max_points. Received: -1"),
        (["--kmeans_early_stop=1"], "--kmeans_early_stop. Received: 1.0"),
        (["--kmeans_two_level_from=3"], "--kmeans_two_level_from. Received: 3. Expected 0"),
        (["--clustering=pic", "--kmeans_init=kmeans++"], "--kmeans_init=kmeans.. with --clusteri"),
        (["--clustering=pic", "--kmeans_iterations=5"], "--kmeans_iterations=5 with --clustering="),
        (["--kmeans_warm_start", "--kmeans_nredo=2"], "--kmeans_warm_start with --kmeans_nredo=2"),
        (["--kmeans_warm_start", "--num_clusters=50000"], "--kmeans_two_level_from=0"),
        (["--temperature=0.2"], "--temperature=0.2 with --head=linear"),
        (["--head=cosine", "--temperature=0"], "--temperature. Received: 0.0"),
        (["--color_jitter=3"], "--color_jitter. Received: 3.0"),
        (["--grayscale=-0.1"], "--grayscale. Received: -0.1"),
        (["--projection=-1"], "--projection. Received: -1"),
        (["--instance_weight=1"], "--instance_weight. Received: 1.0"),
        (["--instance_weight=0.5", "--instance_temperature=0"], "--instance_temperature. Recei"),
        (["--instance_temperature=0.5"], "--instance_temperature=0.5 without --instance_weight"),
        (["--instances_first=0.5"], "--instances_first=0.5 without --instance_weight"),
        (["--instance_weight=0.5", "--instances_first=1"], "--instances_first. Received: 1.0"),
        (
            ["--instance_weight=0.5", "--batch_size=255"],
            "--batch_size=255 for 1 replica with 2 crops of each image. .* such as 254",
        ),
        (["--reassign_churn=1"], "--reassign_churn. Received: 1.0"),
        (["--clustering=pic", "--reassign_churn=0.1"], "--reassign_churn=0.1 with --clusteri"),
        (["--clustering=pic", "--head_start=matched"], "--head_start=matched with --clusteri"),
        (["--clustering=pic", "--mode=improved"], "--head_start=centroids with --clustering=pic"),
        (["--mode=best"], "mode"),
        (["--virtual_devices=2", "--strategy=one"], "Contradictory flags"),
        (["--virtual_devices=3"], "--batch_size=256 for 3 replicas. .* such as 255"),
        (["--strategy=tpu"], "strategy"),
        (["--epochs=many"], "epochs"),
        (["--nonsense=1"], "Unknown command line flag 'nonsense'"),
        (["--num_cluster=5"], "Did you mean: num_clusters"),
        (["stray"], "not flags. Received: stray"),
        (["--flagfile=no/such/file.cfg"], "no/such/file.cfg"),
    ],
)
def test_bad_flags(arguments, message):
    with pytest.raises(InputError, match=message):
        TrainingConfig.from_arguments([*VALID, *arguments]).validate()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--clustering=pic", "--sampler=reweight"],
        ["--kmeans_warm_start", "--kmeans_init=kmeans++", "--kmeans_early_stop=1e-3"],
        ["--kmeans_warm_start", "--num_clusters=50000", "--kmeans_two_level_from=0"],
        ["--kmeans_spherical", "--num_clusters=50000", "--kmeans_nredo=2", "--kmeans_max_points=9"],
    ],
)
def test_flags_that_go_together(arguments):
    TrainingConfig.from_arguments([*VALID, *arguments]).validate()


def test_modes_set_what_is_not_given(tmp_path):
    assert TrainingConfig.from_arguments([*VALID, "--mode=paper"]) == TrainingConfig.from_arguments(
        VALID
    )
    for mode, presets in MODES.items():
        config = TrainingConfig.from_arguments([*VALID, f"--mode={mode}"])
        config.validate()
        changed = TrainingConfig.from_arguments(VALID).differences(config)
        assert {name: now for name, (_, now) in changed.items()} | {
            name: presets[name] for name in presets if name == "epochs"
        } == presets
    (tmp_path / "a.cfg").write_text("--head_start=matched\n")
    for arguments in (
        ["--mode=improved", f"--flagfile={tmp_path}/a.cfg"],
        ["--head_start=matched", "--mode=improved"],
    ):
        config = TrainingConfig.from_arguments([*VALID, *arguments])
        assert (config.head_start, config.head) == ("matched", "cosine")


def test_given_settings_win_over_the_mode_even_when_they_are_the_defaults():
    config = TrainingConfig.from_arguments([*VALID, "--mode=improved", "--head=linear"])
    assert config.head == "linear"


def test_origins_of_settings(tmp_path):
    config = TrainingConfig.from_arguments([*VALID, "--mode=released", "--width=0.5"])
    origins = config.origins()
    assert origins["sampler"] == "mode"
    assert origins["width"] == "given"
    assert origins["momentum"] == "default"
    # They are still told when the run goes on from its own flagfile, which holds all flags.
    config.save(tmp_path / "flags.cfg")
    again = TrainingConfig.from_arguments([f"--flagfile={tmp_path}/flags.cfg"])
    assert again.origins() == origins


def test_a_schedule_ties_a_run_to_its_number_of_epochs():
    config = TrainingConfig.from_arguments([*VALID, "--learning_rate_schedule=cosine"])
    assert config.differences(dataclasses.replace(config, epochs=7)) == {"epochs": (500, 7)}


def test_required_flags():
    with pytest.raises(InputError, match="--data_dir and --run_dir must be given"):
        TrainingConfig.from_arguments([]).validate()


def test_all_problems_are_told_at_once():
    with pytest.raises(InputError) as error:
        TrainingConfig.from_arguments([*VALID, "--image_size=5", "--num_clusters=0"]).validate()
    assert str(error.value).count("Received") == 2


def test_a_saved_flagfile_repeats_the_run(tmp_path):
    config = TrainingConfig.from_arguments(
        [*VALID, "--sobel=false", "--learning_rate=0.012", "--data_dir=a b/é", "--hflip=false"]
    )
    config.save(tmp_path / "flags.cfg")
    assert TrainingConfig.from_arguments([f"--flagfile={tmp_path}/flags.cfg"]) == config


def test_flags_after_a_flagfile_win(tmp_path):
    (tmp_path / "a.cfg").write_text("# a comment\n--epochs=7\n--seed=5\n")
    config = TrainingConfig.from_arguments([f"--flagfile={tmp_path}/a.cfg", "--epochs=9"])
    assert (config.epochs, config.seed) == (9, 5)


def test_differences_leave_out_what_may_change():
    config = TrainingConfig.from_arguments(VALID)
    other = dataclasses.replace(config, epochs=1, run_dir="x", seed=1, width=0.5)
    assert config.differences(other) == {"seed": (31, 1), "width": (1.0, 0.5)}


def test_paths_become_absolute_but_not_bundled_data():
    config = TrainingConfig.from_arguments(VALID).with_absolute_paths()
    assert pathlib.Path(config.data_dir).is_absolute()
    bundled = dataclasses.replace(config, data_dir="sklearn:digits").with_absolute_paths()
    assert bundled.data_dir == "sklearn:digits"
    remote = dataclasses.replace(config, data_dir="gs://bucket/train-*").with_absolute_paths()
    assert remote.data_dir == "gs://bucket/train-*"


@pytest.mark.parametrize("name", ["a b", " a", "ä€𝄞", '"quoted"', "--flag", "#", "a=b", "\u200d"])
def test_odd_paths_come_back_from_the_flagfile(tmp_path, name):
    flags = [f"--data_dir={tmp_path}/{name}", f"--run_dir={name}"]
    config = TrainingConfig.from_arguments(flags).with_absolute_paths()
    config.save(tmp_path / "flags.cfg")
    assert TrainingConfig.from_arguments([f"--flagfile={tmp_path}/flags.cfg"]) == config


def test_a_flagfile_that_is_no_text(tmp_path):
    (tmp_path / "flags.cfg").write_bytes(b"--data_dir=\xff")
    with pytest.raises(InputError, match="utf-8.*Use --help"):
        TrainingConfig.from_arguments([f"--flagfile={tmp_path}/flags.cfg"])


@pytest.mark.parametrize("name", [b"a ", b"a\nb", b"a\rb", b"\xff"])
@pytest.mark.parametrize("flag", ["data_dir", "run_dir"])
def test_paths_that_no_flagfile_holds_are_refused(flag, name):
    config = dataclasses.replace(
        TrainingConfig.from_arguments(VALID), **{flag: os.fsdecode(b"/d/" + name)}
    )
    with pytest.raises(InputError, match=f"cannot be kept.*--{flag}=.*make a link"):
        config.with_absolute_paths()


def test_baselines():
    config = EvaluationConfig.from_arguments(["--run_dir=r", "--baseline=random, supervised"])
    config.validate()
    assert config.baselines() == ("random", "supervised")
    with pytest.raises(
        InputError, match="--baseline=best. Expected some of: random, pixels, supervised"
    ):
        EvaluationConfig.from_arguments(["--run_dir=r", "--baseline=best"]).validate()


@pytest.mark.parametrize("name", ["test_fraction", "max_images", "batch_size"])
def test_bad_evaluation_flags(name):
    with pytest.raises(InputError, match=f"--{name}"):
        EvaluationConfig.from_arguments(["--run_dir=r", f"--{name}=0"]).validate()


@pytest.mark.parametrize(
    "config",
    [TrainingConfig, EvaluationConfig, ExportConfig, AssignConfig, TorchWeightsConfig],
)
def test_help_texts_are_there_and_differ(config):
    texts = [field.metadata["help"] for field in dataclasses.fields(config)]
    assert all(texts)
    spoken = [text for text in texts if not text.startswith("As for")]
    assert len(set(spoken)) == len(spoken)


def _program(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("flagfile", sorted((REPOSITORY / "configs").glob("*.cfg")), ids=str)
def test_presets_are_valid(flagfile):
    done = _program("train.py", f"--flagfile={flagfile}", "--only_check_flags")
    assert (done.returncode, done.stdout) == (0, "All flags are valid.\n"), done.stderr


def test_bad_flags_end_the_program_with_2_before_tensorflow_starts():
    done = _program("-X", "importtime", "train.py", "--image_size=33", *VALID)
    assert done.returncode == 2
    assert "train.py: Invalid --image_size. Received: 33." in done.stderr
    assert "tensorflow" not in done.stderr
    assert not (REPOSITORY / "run").exists()


def test_only_check_flags_fails_on_bad_values():
    done = _program("train.py", "--num_clusters=1", "--only_check_flags")
    assert done.returncode == 2 and "--num_clusters" in done.stderr
