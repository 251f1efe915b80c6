"""Test images that are training images too."""

import numpy as np
from PIL import Image

import textures
from dc_keras.data.sources.open import open_source
from dc_keras.evaluation.copies import count_copies


def test_copies_are_counted_whatever_their_names_and_files(tmp_path):
    images, labels = textures.textures(2, size=40)
    textures.write_folders(tmp_path / "train", images, labels)
    textures.write_folders(tmp_path / "test", textures.textures(2, size=40, seed=5)[0], labels)
    train, test = open_source(f"{tmp_path}/train"), open_source(f"{tmp_path}/test")
    assert count_copies(train, test, image_size=32, batch_size=3)[:2] == (0, 0)

    # The same file twice, the same pixels as another kind of file, and one grey level more.
    first = tmp_path / "train" / train.names[0]
    for name in ("a.png", "b.png"):
        (tmp_path / "test" / "fine" / name).write_bytes(first.read_bytes())
    Image.open(first).save(tmp_path / "test" / "fine" / "c.bmp")
    changed = np.array(Image.open(first)).clip(0, 254) + 1
    Image.fromarray(changed.astype("uint8")).save(tmp_path / "test" / "fine" / "d.png")
    test = open_source(f"{tmp_path}/test")
    assert len(test) == 12
    assert count_copies(train, test, image_size=32, batch_size=3)[:2] == (3, 1)
    assert count_copies(train, train, image_size=32, batch_size=100)[:2] == (8, 0)
