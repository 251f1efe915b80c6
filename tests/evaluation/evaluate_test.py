"""Networks beside each other; tests/programs has evaluate.py as a user starts it."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

import textures
from dc_keras.assembly import build_untrained
from dc_keras.config import EvaluationConfig
from dc_keras.errors import CannotWriteError, InputError
from dc_keras.evaluation import patches
from dc_keras.evaluation.compared import Compared, what_it_started_from
from dc_keras.evaluation.evaluate import evaluate
from dc_keras.evaluation.text import to_markdown
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
    flags = [f"--run_dir={run.path}", f"--data_dir={folder}", "--baseline=pixels,random,patches"]
    config = EvaluationConfig.from_arguments([*flags, "--test_fraction=0.5"])
    config.validate()
    with pytest.MonkeyPatch.context() as changed:
        # Fewer patches, and so fewer centroids, take less time.
        changed.setattr(patches, "NUM_PATCHES", 200)
        return evaluate(config)


def test_a_run_that_learned_nothing_is_as_good_as_a_random_network(report):
    assert list(report.rows) == ["trained", "pixels", "random", "random, calibrated", "patches"]
    assert report.rows["trained"] == report.rows["random"]
    assert "better in" not in report.headline()[0].replace("not better in", "")


def test_the_random_network_is_calibrated_too(report):
    assert report.rows["random, calibrated"] != report.rows["random"]
    # 20 images in batches of 16: what is left over is not a batch as in training.
    assert report.calibration == "1 batches of 16 training images"


def test_what_a_run_started_from_stands_beside_it(run, tmp_path):
    """Here that is another run; this one ended with random weights of its own."""
    second = RunDirectory(tmp_path / "run")
    second.path.mkdir()
    settings = tiny("images", second.path, "--seed=7", f"--init_from={run.path}")
    settings.save(second.flags)
    second.save_weights(build_untrained(settings), epoch=1)
    config = EvaluationConfig(str(second.path), baseline="init")
    strategy = tf.distribute.get_strategy()
    starting = what_it_started_from(config, settings, strategy)
    assert starting.source == str(run.checkpoints / "epoch-0001")
    compared = Compared(config, second, settings, None, strategy, starting)
    ((name, network),) = compared.networks("init", tmp_path, "")
    assert name == "init"
    np.testing.assert_array_equal(fc7_of(network), fc7_of(build_untrained(run.config())))


def fc7_of(network):
    return network.get_layer("fc7").kernel.numpy()


def test_a_run_that_started_from_random_weights_has_no_others(run):
    config = EvaluationConfig.from_arguments([f"--run_dir={run.path}", "--baseline=init"])
    with pytest.raises(InputError, match="started from random weights.*Use --baseline=random"):
        evaluate(config)


def test_what_the_report_says_of_the_setting(run, report):
    assert (report.train_images, report.test_images, report.classes) == (20, 20, 4)
    assert (report.num_clusters, report.seed, report.run_dir) == (6, 31, str(run.path))


def test_the_report_is_in_the_folder_of_the_run(run, report):
    written = json.loads((run.evaluation / "report.json").read_text())
    assert written["rows"] == report.rows


@pytest.fixture
def config_for(run, tmp_path):
    """Settings of an evaluation without baselines that writes to `out`."""

    def make(out, *more):
        textures.write_folders(tmp_path / "images", *textures.textures(4))
        return EvaluationConfig.from_arguments(
            [
                f"--run_dir={run.path}",
                f"--data_dir={tmp_path}/images",
                "--baseline=",
                f"--out={out}",
                *more,
            ]
        )

    return make


def test_the_report_goes_to_another_folder_where_that_is_asked_for(config_for, tmp_path):
    report = evaluate(config_for(tmp_path / "new" / "out"))
    assert (tmp_path / "new" / "out" / "report.md").read_text() == to_markdown(report)


def test_the_tasks_that_are_asked_for_are_done(config_for, tmp_path):
    report = evaluate(config_for(tmp_path / "out", "--task=lowshot"))
    # Three training images of each class, of which one is held out.
    assert report.tasks == ("lowshot",)
    assert [name for name in report.rows["trained"] if not name.endswith(("_sd", "_c"))] == [
        "lowshot_fc7_1",
        "lowshot_fc7_2",
    ]
    assert "Low-shot: 4, 8, 16, 32, 64, 96 images of each class are left out" in report.remarks[0]


def test_what_was_measured_before_is_taken_and_the_rest_is_measured(config_for, tmp_path, capsys):
    first = evaluate(config_for(tmp_path / "out", "--task=knn"))
    assert "Measuring the trained network" in capsys.readouterr().out
    again = evaluate(config_for(tmp_path / "out", "--task=knn"))
    assert "Measured before: the trained network" in capsys.readouterr().out
    assert again.rows == first.rows
    more = evaluate(config_for(tmp_path / "out", "--task=knn,lowshot"))
    assert "Measuring the trained network" in capsys.readouterr().out
    assert more.rows["trained"].items() > first.rows["trained"].items()


def test_what_is_of_images_is_written_with_their_names(config_for, tmp_path):
    report = evaluate(config_for(tmp_path / "out", "--task=knn,linear"))
    with np.load(tmp_path / "out" / "outcomes.npz", allow_pickle=False) as arrays:
        assert [name.decode() for name in arrays["names"]] == list(report.test_names)
        for figure in ("knn_fc7", "probe_fc7", "probe_conv5"):
            accuracy = arrays[f"trained/{figure}"].mean()
            assert accuracy == pytest.approx(report.rows["trained"][figure])


def test_a_report_that_cannot_be_written_is_told_of_first_and_printed(
    config_for, tmp_path, warnings_told, capsys
):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(CannotWriteError):
        evaluate(config_for(tmp_path / "file" / "out"))
    assert len(warnings_told("The report cannot be written.")) == 1
    assert re.search(r"\ntrained +0\.\d", capsys.readouterr().out)


def test_nothing_of_the_training_is_loaded():
    loaded = parts_loaded_with("dc_keras.evaluation.evaluate")
    assert "evaluation" in loaded and "training" not in loaded


def test_all_layers_and_searches_of_a_run(config_for, tmp_path):
    """The tasks that take networks; `layers_of` has no such names for what is none."""
    flags = ["--task=layers,retrieval", f"--retrieval_dir={tmp_path}/images", "--longest_side=64"]
    textures.write_folders(tmp_path / "others", *textures.textures(2))
    report = evaluate(config_for(tmp_path / "out", *flags, f"--whiten_dir={tmp_path}/others"))
    trained = report.rows["trained"]
    assert {"layer_relu1_1", "layer_relu5_3", "layer_fc7", "retrieval_map"} <= trained.keys()
    kept = tmp_path / "out" / "measured" / "trained"
    assert (kept / "probes" / "fc7.npz").exists() and (kept / "retrieval.png").exists()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Accuracy by depth" in page and "What searches found" in page
    assert "Retrieval among" in to_markdown(report)


def test_searches_need_no_labels(config_for, tmp_path, capsys):
    flags = ["--task=retrieval", f"--retrieval_dir={tmp_path}/images", "--longest_side=64"]
    textures.write_folders(tmp_path / "others", *textures.textures(2))
    report = evaluate(config_for(tmp_path / "out", *flags, f"--whiten_dir={tmp_path}/others"))
    assert "Classes, for figures alone" not in capsys.readouterr().out
    assert report.setting() == "16 images of the run, without labels, seed 31"
    assert 0 < report.rows["trained"]["retrieval_map"] <= 1
