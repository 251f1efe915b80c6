"""What a run is said to take: worked out by hand from made-up times, and a real try."""

import dataclasses

import numpy as np
import pytest

import textures
from dc_keras.assembly import build_untrained
from dc_keras.errors import InputError
from dc_keras.training.dry_run import dry_run, estimate
from dc_keras.training.recluster import is_due
from dc_keras.training.run_time import Measured, num_clusterings
from tiny import tiny

MEASURED = Measured(
    start=20.0,
    epoch=1.0,
    # A step of 16 images takes half a second.
    crop=0.5 / 16,
    reading=0.0,
    features=0.001,
    pca=2.0,
    search=0.003,
    feature_dim=100,
    weights=10**7,
    resident=10**9,
)


def test_time_memory_and_disk_by_hand(tmp_path):
    config = dataclasses.replace(
        tiny(tmp_path, tmp_path / "not there" / "run", "--reassign=2", "--pca_images=1000"),
        epochs=4,
        pca_dim=50,
        keep_checkpoints=3,
    )
    lines = estimate(config, 9_488, MEASURED)
    # Four epochs of 593 steps and 1 s; clusterings before epochs 1 and 3 and at the end, with 512
    # views, of 10 + 2 + 28.5 s.
    assert lines[0] == (
        "Time:     22.2 min: 20.0 s to begin, 4 epochs of 5.0 min, 3 clusterings of 40.5 s "
        "(features 10.0 s, pca 2.0 s, kmeans 28.5 s)"
    )
    # 1 GB, 9,488 x 50 descriptors and twice 1,000 x 100 features of 4 bytes.
    assert lines[1].startswith("Memory:   1.0 GB; ")
    # Three checkpoints of 2 x 10 MB, the model of 10 MB and 3 x 9,488 bytes.
    assert lines[2].startswith("Disk:     70 MB, 3 checkpoints of 20 MB among them; ")


@pytest.mark.parametrize("reassign", [0.5, 1, 2, 2.5, 3.7, 40])
def test_clusterings_are_counted_as_the_training_does_them(reassign):
    for epochs in (1, 2, 7, 30):
        due = sum(is_due(epoch, max(reassign, 1.0)) for epoch in range(epochs))
        assert num_clusterings(epochs, reassign) == due


def test_a_real_try_writes_nothing(tmp_path):
    images, _ = textures.textures(16)
    np.savez(tmp_path / "images.npz", images=images)
    asked = ["--clustering=pic", "--choose=epochs,fit", "--hours=0.0001"]
    config = tiny(tmp_path / "images.npz", tmp_path / "run", *asked)
    build_untrained(config).save(tmp_path / "network.keras")
    told = dry_run(dataclasses.replace(config, init_from=str(tmp_path / "network.keras")))
    assert {path.name for path in tmp_path.iterdir()} == {"images.npz", "network.keras"}
    for start in (
        "Images:   64 from",
        "Start:    ",
        "Time:     ",
        "Memory:   ",
        "Disk:     ",
        "Nothing was",
    ):
        assert sum(line.startswith(start) for line in told.splitlines()) == 1, told
    assert told.index("  --epochs  1") < told.index("Expected: ") < told.index("Time:     ")


def test_images_are_read_as_the_run_will_and_told_of(tmp_path):
    images, labels = textures.textures(16)
    folder = tmp_path / "images"
    textures.write_folders(folder, images, labels)
    (folder / "notes.txt").write_text("no image")
    broken = next(folder.rglob("*.png"))
    broken.write_bytes(broken.read_bytes()[:50])
    told = dry_run(tiny(folder, tmp_path / "run", "--max_bad_fraction=0.1"))
    assert told.startswith("Passed over: 1 text or other file ('notes.txt')"), told
    with pytest.raises(InputError, match="more pixels than --max_pixels"):
        dry_run(tiny(folder, tmp_path / "run", "--max_pixels=100"))
    assert not (tmp_path / "run").exists()
