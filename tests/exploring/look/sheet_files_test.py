"""Sheets as files: in the run and its TensorBoard, or in a folder that nothing is lost by."""

import numpy as np
import pytest
from PIL import Image

import textures
from dc_keras.errors import InputError
from dc_keras.exploring.look.run_sheets import LookOptions
from dc_keras.exploring.look.sheet_files import (
    check_look_folder,
    look,
    show_in_tensorboard,
    write_sheets,
)
from dc_keras.exploring.look.sheets import Block, Layout, sheets_of
from dc_keras.runs.run_directory import RunDirectory
from events import told_tags
from finished_run import finished_run

SHEETS = sheets_of(
    "clusters",
    "Clusters",
    "Note.",
    [Block(np.full((30, 30, 3), 40 * i, np.uint8), str(i)) for i in range(3)],
    Layout(columns=1, on_a_sheet=2),
)


def test_files_hold_the_sheets_in_place_of_earlier_ones(tmp_path):
    folder = tmp_path / "look"
    folder.mkdir()
    (folder / "first_layer.png").touch()
    written = write_sheets(folder, SHEETS)
    assert written == [folder / "clusters.png", folder / "clusters_2.png"]
    assert sorted(folder.iterdir()) == written
    for path, sheet in zip(written, SHEETS, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), sheet.titled())


def test_tensorboard_shows_them_once(tmp_path):
    for _ in range(2):
        show_in_tensorboard(tmp_path / "look", SHEETS)
    assert told_tags(tmp_path / "look") == [(0, "look/clusters"), (0, "look/clusters_2")]


@pytest.mark.slow
def test_with_another_folder_nothing_is_written_to_the_run(tmp_path):
    textures.write_folders(tmp_path / "images", *textures.textures(3))
    finished_run(tmp_path / "run", tmp_path / "images")
    run, out = RunDirectory(tmp_path / "run"), tmp_path / "out"
    quick = LookOptions(layer="relu1_2", filters=2, clusters=2)
    elsewhere = look(str(run.path), str(out), quick)
    assert not (run.path / "look").exists() and not (run.tensorboard / "look").exists()
    within = look(str(run.path), options=quick)
    assert [path.name for path in within] == [path.name for path in elsewhere]
    for one, again in zip(elsewhere, within, strict=True):
        assert one.read_bytes() == again.read_bytes()
    assert len(told_tags(run.tensorboard / "look")) == len(within) == 3


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
