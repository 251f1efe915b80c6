"""Networks beside each other; tests/programs has evaluate.py as a user starts it."""

import json

import pytest

import textures
from dc_keras.assembly import build_untrained
from dc_keras.config import EvaluationConfig
from dc_keras.evaluation.evaluate import evaluate
from dc_keras.runs.run_directory import RunDirectory
from fresh_process import parts_loaded_with
from tiny import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that learned nothing: its checkpoint has the weights that it started from."""
    folder = tmp_path_factory.mktemp("runs")
    run = RunDirectory(folder / "run")
    run.path.mkdir()
    config = tiny(folder / "images", run.path)
    config.save(run.flags)
    run.save_weights(build_untrained(config), epoch=1)
    return run


@pytest.fixture(scope="module")
def report(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    textures.write_folders(folder, *textures.textures(10))
    flags = [f"--run_dir={run.path}", f"--data_dir={folder}", "--baseline=pixels,random"]
    config = EvaluationConfig.from_arguments([*flags, "--test_fraction=0.5"])
    config.validate()
    return evaluate(config)


def test_a_run_that_learned_nothing_is_as_good_as_a_random_network(report):
    assert list(report.rows) == ["trained", "random", "pixels"]
    assert report.rows["trained"] == report.rows["random"]


def test_what_the_report_says_of_the_setting(run, report):
    assert (report.train_images, report.test_images, report.classes) == (20, 20, 4)
    assert (report.num_clusters, report.seed, report.run_dir) == (6, 31, str(run.path))


def test_the_report_is_in_the_folder_of_the_run(run, report):
    written = json.loads((run.evaluation / "report.json").read_text())
    assert written["rows"] == report.rows


def test_nothing_of_the_training_is_loaded():
    loaded = parts_loaded_with("dc_keras.evaluation.evaluate")
    assert "evaluation" in loaded and "training" not in loaded
