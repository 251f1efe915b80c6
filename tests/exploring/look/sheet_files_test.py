"""Sheets as files: in the run and its TensorBoard, or in a folder that nothing is lost by."""

import numpy as np
import pytest
from PIL import Image

import textures
from dc_keras.errors import InputError
from dc_keras.exploring.look.run_sheets import LookOptions
from dc_keras.exploring.look.sheet_files import check_look_folder, look
from dc_keras.runs.run_directory import RunDirectory
from events import told_tags
from finished_run import finished_run


def test_files_in_the_run_and_in_tensorboard_or_elsewhere_alone(tmp_path):
    textures.write_folders(tmp_path / "images", *textures.textures(3))
    finished_run(tmp_path / "run", tmp_path / "images")
    run, out = RunDirectory(tmp_path / "run"), tmp_path / "out"
    quick = LookOptions(layer="relu1_2", filters=2, clusters=2)
    names = ["first_layer.png", "filters_relu1_2.png", "clusters.png"]
    assert look(str(run.path), str(out), quick) == [out / name for name in names]
    assert not (run.path / "look").exists() and not (run.tensorboard / "look").exists()
    assert look(str(run.path), options=quick) == [run.path / "look" / name for name in names]
    for name in names:  # The same each time.
        again = np.asarray(Image.open(out / name))
        np.testing.assert_array_equal(np.asarray(Image.open(run.path / "look" / name)), again)
    tags = {tag for _, tag in told_tags(run.tensorboard / "look")}
    assert tags == {"look/first_layer", "look/filters_relu1_2", "look/clusters"}


def test_no_other_folder_is_replaced(tmp_path):
    (tmp_path / "clusters.png").touch()
    (tmp_path / "filters_relu5_3_2.png").touch()
    assert check_look_folder(tmp_path) == tmp_path
    (tmp_path / "holiday.png").touch()
    with pytest.raises(InputError, match="other files, which would be lost. .* holiday.png"):
        check_look_folder(tmp_path)


def test_without_a_run_nothing_is_written(tmp_path):
    with pytest.raises(InputError):
        look(str(tmp_path / "none"))
    assert not list(tmp_path.iterdir())
