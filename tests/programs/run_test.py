"""How programs are started: by name, with what flags, with which help and exit codes."""

import subprocess
import sys

import pytest

from dc_keras import __version__
from dc_keras.programs.run import PROGRAMS
from repository import REPOSITORY

VALID = ["--data_dir=images", "--run_dir=run"]
# What the text of each program says, and one of its flags.
HELP = {
    "train": ("Trains DeepCluster on a folder of images", "--num_clusters"),
    "evaluate": ("Evaluates a run of train.py", "--baseline"),
    "cluster": ("Clusters images by features that you have", "--embeddings"),
    "assign": ("Assigns images, also ones that were not trained on", "--max_bad_fraction"),
    "gallery": ("Makes a page that shows the clusters of a finished run", "--out"),
    "apply": ("Applies labels that were given in a gallery", "--[no]undo"),
    "table": ("Writes what is known of each image of a run as a table", "--features"),
    "duplicates": ("Lists copies among the images of a run", "--max_bits"),
    "look": ("Shows what the network of a run looks at", "--filters"),
    "sort": ("Sorts the images of a run into a folder for each cluster", "--[no]move"),
    "export": ("Exports a trained network for serving", "--layers"),
    "serve-check": ("Checks that an exported model answers as its run does", "--run_dir"),
    "pack": ("Packs a data set into a few large files", "--short_side"),
    "convert": ("Turns a checkpoint of the published PyTorch code", "--image_size"),
}


def started(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_programs_are_listed(arguments):
    done = started("-m", "dc_keras", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    assert first == "Usage: dc-keras PROGRAM [flags]"
    listed = dict(line.split(maxsplit=1) for line in lines if line.startswith("  "))
    assert listed == PROGRAMS


def test_an_unknown_program_ends_with_2_and_lists_the_others():
    done = started("-m", "dc_keras", "trian", *VALID)
    assert (done.returncode, done.stdout) == (2, "")
    assert "dc-keras: There is no such program. Received: trian." in done.stderr
    assert all(name in done.stderr for name in PROGRAMS)
    assert "Traceback" not in done.stderr


def test_the_version_is_that_of_the_package():
    done = started("-m", "dc_keras", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"dc-keras {__version__}\n", "")


def assert_helps(done, program):
    text, flag = HELP[program]
    # absl ends --help with 1.
    assert (done.returncode, done.stderr) == (1, "")
    assert text in done.stdout and "Exit codes: " in done.stdout
    assert f"\n  {flag}: " in done.stdout
    # Neither flags that were taken out nor those of the libraries.
    assert "kmeans_nredo" not in done.stdout and "verbosity" not in done.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_tells_its_text_and_its_flags(program):
    assert_helps(started("-m", "dc_keras", program, "--help"), program)


@pytest.mark.parametrize("program", ["train", "evaluate"])
def test_scripts_of_a_clone_help_as_well(program):
    assert_helps(started(f"{program}.py", "--help"), program)


@pytest.mark.parametrize("how", [["-m", "dc_keras", "train"], ["train.py"]])
def test_bad_flags_end_with_2_and_say_which_program_means_them(how):
    done = started(*how, "--image_size=33", *VALID)
    assert (done.returncode, done.stdout) == (2, "")
    name = "train.py" if how == ["train.py"] else "dc-keras train"
    assert done.stderr.startswith(f"{name}: Invalid --image_size. Received: 33.")


def test_bad_flags_end_the_program_with_2_before_tensorflow_starts():
    done = started("-X", "importtime", "train.py", "--image_size=33", *VALID)
    assert done.returncode == 2
    assert "train.py: Invalid --image_size. Received: 33." in done.stderr
    assert "tensorflow" not in done.stderr
    assert not (REPOSITORY / "run").exists()


@pytest.mark.parametrize(
    "flagfile", sorted((REPOSITORY / "configs").glob("*.cfg")), ids=lambda path: path.stem
)
def test_presets_are_valid(flagfile):
    program = "evaluate.py" if flagfile.stem.startswith("evaluate_") else "train.py"
    done = started(program, f"--flagfile={flagfile}", "--only_check_flags")
    assert (done.returncode, done.stdout) == (0, "All flags are valid.\n"), done.stderr


def test_presets_are_found_by_their_names():
    done = started("-m", "dc_keras", "train", "--preset=cifar10", "--only_check_flags")
    assert (done.returncode, done.stdout) == (0, "All flags are valid.\n"), done.stderr


def test_unknown_presets_end_the_program_with_2():
    done = started("train.py", "--preset=best", *VALID)
    assert done.returncode == 2 and "--preset=best. Expected one of: auto, " in done.stderr


def test_only_check_flags_fails_on_bad_values():
    done = started("train.py", "--num_clusters=1", "--only_check_flags")
    assert done.returncode == 2 and "--num_clusters" in done.stderr


def test_settings_that_only_a_run_needs_are_not_missed_when_flags_are_checked():
    done = started("-m", "dc_keras", "assign", "--only_check_flags")
    assert (done.returncode, done.stdout) == (0, "All flags are valid.\n"), done.stderr
