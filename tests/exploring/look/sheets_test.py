"""Sheets: where pictures lie on them, and text that is too long."""

import numpy as np

from dc_keras.exploring.look.sheets import (
    Block,
    Layout,
    above,
    beside,
    framed,
    resized,
    sheets_of,
)


def blocks(count, side=40):
    return [Block(np.full((side, side, 3), 10 * i, np.uint8), f"block {i}") for i in range(count)]


def test_pictures_lie_in_rows_and_go_on_on_another_sheet():
    first, second = sheets_of("name", "Title", "Note.", blocks(7), Layout(columns=2, on_a_sheet=4))
    assert (first.name, second.name) == ("name", "name_2")
    assert (first.title, second.title) == ("Title (1 of 2)", "Title (2 of 2)")
    # Two columns of 40 and a gap of 18; two rows of 40, a caption of 24 and a gap of 18 between.
    assert first.picture.shape == second.picture.shape == (2 * 64 + 18, 2 * 40 + 18, 3)
    corners = first.picture[[0, 0, 82, 82], [0, 58, 0, 58], 0]
    assert corners.tolist() == [0, 10, 20, 30]
    assert second.picture[82, 58, 0] == 255  # white where none is left


def test_captions_are_written_below_and_never_wider_than_their_picture():
    long = Block(np.full((40, 40, 3), 255, np.uint8), "a caption that is much too long for it")
    (sheet,) = sheets_of("name", "Title", "Note.", [long, *blocks(1)], Layout(2, 2))
    dark = sheet.picture[40:64].min(axis=(0, 2)) < 128
    assert dark[:40].any() and not dark[40:58].any()


def test_title_and_note_stand_above_the_picture():
    (sheet,) = sheets_of("name", "Title", "Words " * 60, blocks(2), Layout(2, 2))
    page = sheet.titled()
    height, width = sheet.picture.shape[:2]

    assert page.shape[1] == 640 + 48  # as wide as a title needs
    top = page.shape[0] - 24 - height
    np.testing.assert_array_equal(page[top:-24, 24 : 24 + width], sheet.picture)
    assert (page[:24] == 255).all() and (page[:, -24:] == 255).all()
    assert (page[24:top] < 128).any()


def test_weights_stay_squares():
    small = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20
    np.testing.assert_array_equal(resized(small, 6, sharp=True), small.repeat(3, 0).repeat(3, 1))
    assert resized(small, 2) is small
    assert resized(small, 5).shape == (5, 5, 3)


def test_pictures_beside_and_above_each_other():
    black = np.zeros((2, 3, 3), np.uint8)
    assert beside([black, black], gap=4).shape == (2, 10, 3)
    both = above([black, black], gap=4)
    assert both.shape == (8, 3, 3) and (both[2:6] == 255).all() and not both[6:].any()


def test_a_frame_leaves_the_picture_as_it_was():
    picture = np.zeros((12, 12, 3), np.uint8)
    found = framed(picture, (2, 3, 9, 10), (250, 200, 0))
    assert not picture.any()
    assert found[3, 2].tolist() == found[10, 9].tolist() == [250, 200, 0]
    assert not found[6, 6].any() and not found[2].any()
