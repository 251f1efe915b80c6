"""What a run is said to take: worked out by hand from made-up times, and a real try."""

import dataclasses

import numpy as np
import pytest

import textures
from dc_keras.assembly import Schedule, build_untrained
from dc_keras.errors import InputError
from dc_keras.training.dry_run import Measured, dry_run, estimate
from tiny import tiny

MEASURED = Measured(
    step=0.5,
    features=0.001,
    pca=0.002,
    search=0.003,
    feature_dim=100,
    weights=10**7,
    resident=10**9,
)


def test_time_memory_and_disk_by_hand(tmp_path):
    config = dataclasses.replace(
        tiny(tmp_path, tmp_path / "not there" / "run", "--reassign=2", "--pca_images=1000"),
        pca_dim=50,
        keep_checkpoints=3,
    )
    lines = estimate(config, 10_000, Schedule(epochs=4, steps=20), MEASURED)
    # Four epochs of 10 s; clusterings before epochs 1 and 3 and at the end, of 10 + 2 + 30 s.
    assert lines[0] == (
        "Time:     2.8 min: 4 epochs of 10.0 s, 3 clusterings of 42.0 s "
        "(features 10.0 s, pca 2.0 s, kmeans 30.0 s)"
    )
    # 1 GB, 10,000 x 50 descriptors and twice 1,000 x 100 features of 4 bytes.
    assert lines[1].startswith("Memory:   1.0 GB; ")
    # Three checkpoints of 2 x 10 MB, the model of 10 MB and 3 x 10,000 bytes.
    assert lines[2].startswith("Disk:     70 MB, 3 checkpoints of 20 MB among them; ")


def test_a_real_try_writes_nothing(tmp_path):
    images, _ = textures.textures(16)
    np.savez(tmp_path / "images.npz", images=images)
    config = tiny(tmp_path / "images.npz", tmp_path / "run", "--clustering=pic", "--seed=3")
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


def test_weights_to_start_from_are_looked_at(tmp_path):
    with pytest.raises(InputError, match="nothing to start from"):
        dry_run(tiny(tmp_path, tmp_path / "run", f"--init_from={tmp_path}/gone"))
