"""Settings of the programs around the training; see also tests/programs."""

import dataclasses

import pytest

from dc_keras.config import (
    AssignConfig,
    ClusterConfig,
    ConvertConfig,
    DuplicatesConfig,
    EvaluationConfig,
    ExportConfig,
    PackConfig,
    SortConfig,
    TableConfig,
    TrainingConfig,
)
from dc_keras.errors import InputError


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "--embeddings .or --network. must be given"),
        (["--embeddings=f.npy", "--network=n.keras"], "--embeddings with --network. Leave one"),
        (["--embeddings=f.npy", "--pixels=0..1"], "with --network alone. Received: --pixels=0..1"),
        (["--embeddings=f.npy", "--fit=pad", "--tokens=first"], "--tokens=first, --fit=pad"),
        (["--network=n.keras", "--paths=p.txt"], "with --embeddings alone. Received: --paths"),
        (["--network=n.keras", "--labels=some"], "Invalid --labels"),
        (["--network=n.keras", "--value_range=3"], "Invalid --value_range"),
    ],
)
def test_what_clustering_alone_cannot_use_is_refused(flags, words):
    with pytest.raises(InputError, match=words):
        ClusterConfig.from_arguments(["--data_dir=d", "--run_dir=r", *flags]).validate()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--paths=p.txt"], "no effect without --embeddings. Received: --paths=p.txt"),
        (["--embeddings=f.npy", "--max_pixels=9"], "no effect with --embeddings. Received: --max"),
    ],
)
def test_what_assigning_by_features_cannot_use_is_refused(flags, words):
    given = ["--run_dir=r", "--data_dir=d", "--out=o.csv"]
    AssignConfig.from_arguments([*given, "--embeddings=f.npy", "--paths=p.txt"]).validate()
    with pytest.raises(InputError, match=words):
        AssignConfig.from_arguments([*given, *flags]).validate()


def test_a_clustering_alone_has_the_settings_of_a_run():
    flags = ["--data_dir=d", "--run_dir=r", "--network=n", "--seed=7", "--whiten", "--fit=pad"]
    run = ClusterConfig.from_arguments(flags).run_settings(num_images=4000, image_size=28)
    assert (run.num_clusters, run.image_size, run.seed, run.whiten, run.fit) == (
        100,
        28,
        7,
        True,
        "pad",
    )
    assert run.clustering == "kmeans" and run.kmeans_spherical


@pytest.mark.parametrize("flag", ["--short_side=9", "--shard_images=9", "--max_bad_fraction=0.5"])
def test_verifying_takes_no_flags_of_packing(flag):
    PackConfig.from_arguments(["--verify", "packed"]).validate()
    PackConfig.from_arguments(["files", "out", flag]).validate()
    name = flag.partition("=")[0]
    with pytest.raises(InputError, match=f"^{name} would be ignored.*Received: {flag}. Leave it"):
        PackConfig.from_arguments(["--verify", "packed", flag]).validate()


@pytest.mark.parametrize("flag", ["--max_bad_fraction=1", "--max_pixels=-1"])
def test_bad_flags_of_assign(flag):
    given = ["--run_dir=r", "--data_dir=d", "--out=o"]
    AssignConfig.from_arguments(given).validate()
    with pytest.raises(InputError, match=f"{flag.partition('=')[0]}. Received: "):
        AssignConfig.from_arguments([*given, flag]).validate()


def test_undoing_a_sorting_takes_its_folder_alone():
    SortConfig.from_arguments(["--undo", "--out=o"]).validate()
    with pytest.raises(InputError, match="--undo with --run_dir, --move. Leave that out"):
        SortConfig.from_arguments(["--undo", "--out=o", "--run_dir=r", "--move"]).validate()
    with pytest.raises(InputError, match="^--out must be given"):
        SortConfig.from_arguments(["--undo"]).validate()


def test_images_are_copied_or_moved():
    with pytest.raises(InputError, match="--copy with --move. Leave one out"):
        SortConfig.from_arguments(["--run_dir=r", "--out=o", "--copy", "--move"]).validate()


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        (EvaluationConfig, "--run_dir or --compare"),
        (ExportConfig, "--run_dir and --out"),
        (AssignConfig, "--run_dir and --data_dir and --out"),
        (TableConfig, "--run_dir and --out"),
        (DuplicatesConfig, "--run_dir and --out"),
        (SortConfig, "--run_dir and --out"),
    ],
)
def test_required_flags_of_programs(config, missing):
    with pytest.raises(InputError, match=f"^{missing} must be given.$"):
        config.from_arguments([]).validate()


@pytest.mark.parametrize(
    "config",
    [
        TrainingConfig,
        EvaluationConfig,
        ExportConfig,
        AssignConfig,
        ConvertConfig,
        PackConfig,
        TableConfig,
        DuplicatesConfig,
        SortConfig,
    ],
)
def test_help_texts_are_there_and_differ(config):
    texts = [field.metadata["help"] for field in dataclasses.fields(config)]
    assert all(texts)
    spoken = [text for text in texts if not text.startswith("As for")]
    assert len(set(spoken)) == len(spoken)
