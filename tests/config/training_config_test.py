"""The flags of the training and the rules between them."""

import dataclasses
import math
import os
import pathlib

import pytest

from dc_keras.config.training import CHOOSABLE, MODES, TrainingConfig
from dc_keras.data.pixels.options import PixelOptions
from dc_keras.errors import InputError
from old_runs import REMOVED_FLAGS

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
        (["--labels=folder"], "--labels. Received: folder. Expected folders, none, or a .csv"),
        (["--value_range=370,290"], "--value_range. Received: 370,290. Expected LOW,HIGH"),
        (["--value_range=0,65536"], "--value_range"),
        (["--value_range=12"], "--value_range"),
        (["--fit=stretch"], "fit"),
        (["--max_pixels=0"], "--max_pixels. Received: 0. Expected at least 1"),
        (["--image_size=0"], "multiple of 32, such as 32"),
        (["--image_size=5"], "multiple of 32, such as 32"),
        (["--arch=compact", "--image_size=20"], "a multiple of 8, such as 16"),
        (["--crop_scale=0.75"], "--crop_scale. Received: 0.75. Expected 1, as other .*=compact"),
        (["--arch=compact", "--crop_scale=1.5"], "--crop_scale. Received: 1.5"),
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
        (["--dropout=1"], "--dropout. Received: 1.0. Expected at least 0 and below 1[.]"),
        (["--crop_min_area=0"], "--crop_min_area"),
        (["--max_bad_fraction=1"], "--max_bad_fraction"),
        (["--virtual_devices=1"], "--virtual_devices"),
        (["--sampler=balanced"], "sampler"),
        (["--sampler=sqrt"], "sampler"),
        (["--head_start=matched"], "head_start"),
        (["--clustering=spectral"], "clustering"),
        (["--kmeans_max_points=-1"], "--kmeans_max_points. Received: -1"),
        (["--kmeans_two_level_from=3"], "--kmeans_two_level_from. Received: 3. Expected 0"),
        (["--clustering=pic", "--kmeans_iterations=5"], "--kmeans_iterations=5 with --clustering="),
        (["--temperature=0.2"], "--temperature=0.2 with --head=linear"),
        (["--head=cosine", "--temperature=0"], "--temperature. Received: 0.0"),
        (["--color_jitter=3"], "--color_jitter. Received: 3.0"),
        (["--grayscale=-0.1"], "--grayscale. Received: -0.1"),
        (["--instance_weight=1"], "--instance_weight. Received: 1.0"),
        (["--instance_weight=0.5", "--instance_temperature=0"], "--instance_temperature. Recei"),
        (["--instance_temperature=0.5"], "--instance_temperature=0.5 without --instance_weight"),
        (["--instance_views=4"], "--instance_views=4 without --instance_weight"),
        (["--instance_weight=0.5", "--instance_views=1"], "--instance_views. Received: 1"),
        (
            ["--instance_weight=0.5", "--instance_views=4", "--batch_size=30"],
            "with 4 crops of each image. Expected a multiple of 4, such as 28",
        ),
        (
            ["--instance_weight=0.5", "--batch_size=255"],
            "--batch_size=255 for 1 replica with 2 crops of each image. .* such as 254",
        ),
        (["--clustering=pic", "--mode=improved"], "--head_start=centroids with --clustering=pic"),
        (["--mode=best"], "mode"),
        (["--virtual_devices=2", "--strategy=one"], "Contradictory flags"),
        (
            ["--virtual_devices=2", "--strategy=multi_worker"],
            "--virtual_devices=2 with --strategy=multi_worker",
        ),
        (["--dry_run", "--strategy=multi_worker"], "--dry_run with --strategy=multi_worker"),
        (["--xla=on", "--deterministic"], "--xla=on with --deterministic"),
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
        ["--num_clusters=50000", "--kmeans_two_level_from=0"],
        ["--kmeans_spherical", "--num_clusters=50000", "--kmeans_max_points=9"],
    ],
)
def test_flags_that_go_together(arguments):
    TrainingConfig.from_arguments([*VALID, *arguments]).validate()


def test_the_papers_mode_is_the_defaults():
    assert TrainingConfig.from_arguments([*VALID, "--mode=paper"]) == TrainingConfig.from_arguments(
        VALID
    )


@pytest.mark.parametrize("mode", MODES)
def test_modes_set_what_is_not_given(mode):
    config = TrainingConfig.from_arguments([*VALID, f"--mode={mode}"])
    config.validate()
    defaults = TrainingConfig.from_arguments(VALID)
    changed = {
        name: value
        for name, value in dataclasses.asdict(config).items()
        if value != getattr(defaults, name) and name != "mode"
    }
    assert changed == MODES[mode]


@pytest.mark.parametrize("order", [1, -1])
def test_given_settings_win_over_the_mode_even_when_they_are_the_defaults(order):
    arguments = ["--mode=improved", "--head_start=redrawn"][::order]
    config = TrainingConfig.from_arguments([*VALID, *arguments])
    assert (config.head_start, config.head) == ("redrawn", "cosine")


def test_settings_in_a_flagfile_win_over_the_mode(tmp_path):
    (tmp_path / "a.cfg").write_text("--head_start=redrawn\n")
    arguments = ["--mode=improved", f"--flagfile={tmp_path}/a.cfg"]
    config = TrainingConfig.from_arguments([*VALID, *arguments])
    assert (config.head_start, config.head) == ("redrawn", "cosine")


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


def test_the_usual_limit_of_pixels_is_that_of_the_decoder():
    config = TrainingConfig.from_arguments(VALID)
    assert config.max_pixels == PixelOptions().max_pixels


def test_required_flags():
    with pytest.raises(InputError, match="--data_dir and --run_dir must be given"):
        TrainingConfig.from_arguments([]).validate()


def test_a_saved_flagfile_repeats_the_run(tmp_path):
    config = TrainingConfig.from_arguments(
        [*VALID, "--sobel=false", "--learning_rate=0.012", "--data_dir=a b/é", "--hflip=false"]
    )
    config.save(tmp_path / "flags.cfg")
    assert TrainingConfig.from_arguments([f"--flagfile={tmp_path}/flags.cfg"]) == config


@pytest.fixture
def moved(tmp_path):
    """The flagfile of a run that was moved to another folder."""
    for name in ("began", "moved"):
        (tmp_path / name).mkdir()
    (tmp_path / "moved" / "manifest.csv").touch()
    began = [f"--data_dir={tmp_path}", f"--run_dir={tmp_path}/began", "--resume=never"]
    TrainingConfig.from_arguments(began).save(tmp_path / "moved" / "flags.cfg")
    return tmp_path / "moved" / "flags.cfg"


def test_the_folder_of_a_runs_own_flagfile_is_the_run(moved):
    for arguments in ([f"--flagfile={moved}"], ["-flagfile", str(moved)]):
        config = TrainingConfig.from_arguments(arguments)
        assert (config.run_dir, config.resume) == (str(moved.parent), "auto")
    asked = TrainingConfig.from_arguments([f"--flagfile={moved}", "--resume=never"])
    assert (asked.run_dir, asked.resume) == (str(moved.parent), "never")


def test_the_folder_may_be_the_working_directory(moved, monkeypatch):
    monkeypatch.chdir(moved.parent)
    assert TrainingConfig.from_arguments(["--flagfile=flags.cfg"]).run_dir == "."


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("flag", [["--run_dir=other"], ["--run_dir", "other"]])
def test_a_runs_flagfile_repeats_it_elsewhere(moved, first, flag):
    flagfile = [f"--flagfile={moved}"]
    config = TrainingConfig.from_arguments(flag + flagfile if first else flagfile + flag)
    assert (config.run_dir, config.resume) == ("other", "never")


def test_a_run_that_is_repeated_elsewhere_leaves_the_first_ones_copy_alone(moved):
    moved.write_text(moved.read_text().replace("--backup_dir=", "--backup_dir=gs://b/run"))
    again = [f"--flagfile={moved}"]
    assert TrainingConfig.from_arguments(again).backup_dir == "gs://b/run"
    again.append("--run_dir=other")
    assert TrainingConfig.from_arguments(again).backup_dir == ""
    again.append("--backup_dir=gs://b/other")
    assert TrainingConfig.from_arguments(again).backup_dir == "gs://b/other"


def test_a_copy_of_the_flagfile_alone_is_no_run(moved, tmp_path):
    for copy in (tmp_path / "flags.cfg", moved.with_name("mine.cfg")):
        copy.write_text(moved.read_text())
        config = TrainingConfig.from_arguments([f"--flagfile={copy}"])
        assert config.run_dir == f"{tmp_path}/began"


@pytest.mark.parametrize("lost", [1, 200, 10_000])
def test_a_runs_flagfile_that_was_cut_off_is_refused(moved, lost):
    text = moved.read_text()
    moved.write_text(text[: max(0, len(text) - lost)])
    with pytest.raises(InputError, match="settings of the run are cut off.*from a backup"):
        TrainingConfig.from_arguments([f"--flagfile={moved}", "--run_dir=other"])


def test_flagfiles_of_older_versions_do_not_tell_their_length(moved):
    moved.write_text("# The settings of this run.\n--epochs=7\n--data_dir=d")
    assert TrainingConfig.from_arguments([f"--flagfile={moved}"]).epochs == 7


def test_differences_leave_out_what_may_change():
    config = TrainingConfig.from_arguments(VALID)
    other = dataclasses.replace(config, epochs=1, run_dir="x", seed=1, width=0.5)
    assert config.differences(other) == {"seed": (31, 1), "width": (1.0, 0.5)}


def test_what_may_change_when_a_run_goes_on():
    changeable = {
        field.name for field in dataclasses.fields(TrainingConfig) if field.metadata["may_change"]
    }
    assert changeable == {
        "mode", "run_dir", "resume", "keep_checkpoints", "checkpoint_every_steps",
        "checkpoint_every_minutes", "max_bad_fraction", "cache", "max_cluster_fraction",
        "on_collapse", "epochs", "strategy", "virtual_devices", "labels",
        "backup_dir", "dry_run", "gallery", "choose", "hours", "final_clusters", "xla",
    }  # fmt: skip


def test_paths_become_absolute():
    config = TrainingConfig.from_arguments(VALID).with_absolute_paths()
    assert pathlib.Path(config.data_dir).is_absolute()
    assert pathlib.Path(config.run_dir).is_absolute()
    assert config.init_from == ""
    weights = dataclasses.replace(config, init_from="weights.pth").with_absolute_paths().init_from
    assert weights == str(pathlib.Path.cwd() / "weights.pth")


@pytest.mark.parametrize("name", ["sklearn:digits", "tfds:mnist", "gs://bucket/train-*"])
def test_names_of_data_that_are_no_paths_stay(name):
    config = dataclasses.replace(TrainingConfig.from_arguments(VALID), data_dir=name)
    assert config.with_absolute_paths().data_dir == name


@pytest.mark.parametrize("name", ["a b", " a", "ä€𝄞", '"quoted"', "--flag", "#", "a=b", "\u200d"])
def test_odd_paths_come_back_from_the_flagfile(tmp_path, name):
    flags = [f"--data_dir={tmp_path}/{name}", f"--run_dir={name}"]
    config = TrainingConfig.from_arguments(flags).with_absolute_paths()
    config.save(tmp_path / "flags.cfg")
    assert TrainingConfig.from_arguments([f"--flagfile={tmp_path}/flags.cfg"]) == config


@pytest.mark.parametrize("name", [b"a ", b"a\nb", b"a\rb", b"\xff"])
@pytest.mark.parametrize("flag", ["data_dir", "run_dir", "init_from"])
def test_paths_that_no_flagfile_holds_are_refused(flag, name):
    config = dataclasses.replace(
        TrainingConfig.from_arguments(VALID), **{flag: os.fsdecode(b"/d/" + name)}
    )
    with pytest.raises(InputError, match=f"cannot be kept.*--{flag}=.*make a link"):
        config.with_absolute_paths()


@pytest.mark.parametrize(
    "field",
    [field for field in dataclasses.fields(TrainingConfig) if field.metadata["bounds"]],
    ids=lambda field: field.name,
)
def test_bounds_hold_to_their_last_number(field):
    """The bound itself and the numbers beside it, on the side that is allowed and the other."""

    def next_to(bound, up):
        return bound + up if field.type is int else math.nextafter(bound, up * math.inf)

    for name, bound in field.metadata["bounds"].items():
        inwards = 1 if name in ("at_least", "above") else -1
        at_bound = name in ("at_least", "at_most")
        good = field.type(bound) if at_bound else next_to(bound, inwards)
        bad = next_to(bound, -inwards) if at_bound else field.type(bound)
        for value, is_good in ((good, True), (bad, False)):
            config = dataclasses.replace(TrainingConfig(), **{field.name: value})
            assert (config.out_of_bounds() == []) == is_good, (name, value)


def old_flagfile(tmp_path, **changes):
    """A flagfile of a run by an older version, with other values of flags that were taken out."""
    lines = dict(line.split("=") for line in REMOVED_FLAGS.splitlines())
    lines |= {f"--{name}": value for name, value in changes.items()}
    path = tmp_path / "flags.cfg"
    path.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    return f"--flagfile={path}"


def test_removed_flags_are_those_that_older_runs_name():
    names = {line.removeprefix("--").partition("=")[0] for line in REMOVED_FLAGS.splitlines()}
    assert TrainingConfig.REMOVED.keys() == names


def test_flags_of_older_runs_are_read_where_they_had_no_effect(tmp_path):
    config = TrainingConfig.from_arguments([*VALID, old_flagfile(tmp_path)])
    assert config == TrainingConfig.from_arguments(VALID)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("projection", "128"),
        ("reassign_churn", "0.1"),
        ("kmeans_init", "kmeans++"),
        ("kmeans_warm_start", "true"),
        ("kmeans_nredo", "2"),
        ("kmeans_early_stop", "0.001"),
    ],
)
def test_flags_of_older_runs_are_refused_where_they_had_an_effect(tmp_path, name, value):
    with pytest.raises(InputError, match=f"--{name} was taken out.*Received: --{name}="):
        TrainingConfig.from_arguments([*VALID, old_flagfile(tmp_path, **{name: value})])


@pytest.mark.parametrize("instances", ["--instance_weight=0.5", "--mode=improved"])
def test_epochs_of_instances_alone_had_an_effect_with_instances(tmp_path, instances):
    none_first = old_flagfile(tmp_path, instances_first="0.0")
    config = TrainingConfig.from_arguments([*VALID, instances, none_first])
    assert config == TrainingConfig.from_arguments([*VALID, instances])
    with pytest.raises(InputError, match="--instances_first was taken out.*_first=0.3. Leave"):
        TrainingConfig.from_arguments([*VALID, instances, old_flagfile(tmp_path)])


def asked(*more):
    config = TrainingConfig.from_arguments([*VALID, *more])
    config.validate()
    return config


@pytest.mark.parametrize("order", [1, -1])
def test_what_is_given_beside_the_preset_auto_is_not_chosen(order):
    config = asked(*["--preset=auto", "--epochs=3", "--mode=paper", "--hours=2"][::order])
    assert config.to_choose == set(CHOOSABLE) - {"epochs", "mode"}
    assert (config.epochs, config.mode, config.hours, config.sobel) == (3, "paper", 2, True)


def test_the_preset_auto_begins_with_the_improved_mode():
    config = asked("--preset=auto", "--dropout=0.1")
    assert config.to_choose == set(CHOOSABLE)
    assert (config.mode, config.head, config.dropout, config.hours) == (
        "improved",
        "cosine",
        0.1,
        1,
    )
    assert asked("--preset=auto", "--clustering=pic").head_start == "redrawn"


def test_flags_to_choose_may_be_named_beside_a_preset():
    config = asked("--preset=photos", "--choose=epochs,batch_size", "--hours=3")
    assert config.to_choose == {"epochs", "batch_size"} and config.num_clusters == 50
    assert TrainingConfig.from_arguments(config.to_flagfile().split("\n")[:-1]) == config


@pytest.mark.parametrize("more", ["--pca_images=9", "--reassign=900", "--virtual_devices=3"])
def test_what_will_be_chosen_contradicts_nothing(more):
    asked("--preset=auto", more)
    with pytest.raises(InputError, match="Expected|Use"):
        asked("--mode=improved", more)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--hours=2"], "nothing to choose for a time. Received: --hours=2 without --choose"),
        (["--preset=auto", "--hours=0"], "Invalid --hours. Received: 0.0. Expected above 0"),
        (["--choose=size"], "no such flag to choose. Received: --choose=size. Expected all, or"),
    ],
)
def test_what_cannot_be_chosen(more, message):
    with pytest.raises(InputError, match=message):
        asked(*more)


@pytest.mark.parametrize(
    ("image_size", "crop_scale", "side"),
    [(32, 1.0, 32), (32, 0.75, 24), (64, 0.75, 48), (40, 0.75, 32), (32, 0.1, 8)],
)
def test_crops_are_a_part_of_the_input(image_size, crop_scale, side):
    config = TrainingConfig(arch="compact", image_size=image_size, crop_scale=crop_scale)
    assert config.crop_size == side
