"""Choosing in earnest: on generated images, into the run's flags, and never twice."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import textures
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.open import open_source
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.training import choosing
from dc_keras.training.choices import GUESS
from dc_keras.training.choosing import look, with_choices
from dc_keras.training.loop import train
from dc_keras.training.measuring import take_sample
from tiny import tiny


@pytest.fixture
def asked(npz, tmp_path):
    """Three flags to choose for 64 textures, in no time."""
    return tiny(npz, tmp_path / "run", "--choose=num_clusters,epochs,fit", "--hours=0.0001")


def test_what_is_chosen_is_kept_and_never_chosen_again(asked, monkeypatch, capsys):
    # Real tries are those of dry_run_test.py.
    monkeypatch.setattr(choosing, "measure", lambda *arguments: GUESS)
    run = train(asked)
    told = capsys.readouterr().out
    assert "Chosen for 64 images and 0.0001 h" in told and "Expected: " in told
    kept = run.config()
    # 64 // 8 images for each cluster; some of 6 were given, which --choose overrides by name.
    assert (kept.num_clusters, kept.epochs, kept.fit) == (8, 1, "crop")
    assert kept.choose == "" and "--num_clusters  8" in run.log_file.read_text()
    monkeypatch.setattr(choosing, "measure", lambda *arguments: pytest.fail("chosen again"))
    train(asked)
    assert capsys.readouterr().out.endswith("The run is complete.\n")
    assert run.config() == kept


def test_a_run_keeps_what_it_has_where_others_would_be_chosen(asked, tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    own = dataclasses.replace(asked, num_clusters=3, epochs=9, choose="", hours=1.0)
    own.save(run.flags)
    assert with_choices(asked, run).config == own


@pytest.mark.parametrize(
    ("may_gain", "times_as_fast", "precision"),
    [(True, 2.0, "mixed_bfloat16"), (True, 0.5, "float32"), (False, 2.0, "float32")],
)
def test_bfloat16_is_tried_where_it_may_gain(
    npz, tmp_path, monkeypatch, may_gain, times_as_fast, precision
):
    tried = []

    def measure(config, *arguments):
        tried.append(config.precision)
        gain = times_as_fast if config.precision == "mixed_bfloat16" else 1.0
        return dataclasses.replace(GUESS, crop=GUESS.crop / gain)

    monkeypatch.setattr(choosing, "measure", measure)
    monkeypatch.setattr(choosing, "may_gain_by_bfloat16", lambda: may_gain)
    chosen = with_choices(
        tiny(npz, tmp_path / "run", "--choose=precision,epochs", "--mode=improved"),
        RunDirectory(tmp_path / "run"),
    )
    assert chosen.config.precision == precision
    assert tried == (["float32", "mixed_bfloat16"] if may_gain else ["float32"])
    assert any(line.split()[:2] == ["--precision", precision] for line in chosen.told)
    # The run's time is that of the precision which is chosen.
    faster = times_as_fast if precision == "mixed_bfloat16" else 1.0
    assert chosen.measured.crop == GUESS.crop / faster


@pytest.mark.parametrize(("channels", "coloured"), [(1, 0.0), (3, 1.0)])
def test_images_are_looked_at(npz, tmp_path, rng, channels, coloured):
    pixels = rng.integers(256, size=[20, 40, 30, channels], dtype=np.uint8)
    source = ArraySource(pixels, [f"{i}" for i in range(20)])
    sample = take_sample(tiny(npz, tmp_path / "run"), source, count=10, max_bad_fraction=0.0)
    facts = look(source, sample, tf.distribute.get_strategy(), seconds=7.0)
    assert (facts.num_images, facts.short_side, facts.coloured) == (20, 30, coloured)
    some = dataclasses.replace(sample, readable=0.9)
    assert look(source, some, tf.distribute.get_strategy(), seconds=7.0).num_images == 18
    assert (facts.replicas, facts.seconds, len(facts.sizes)) == (1, 7, 10)


def test_images_that_cannot_be_read_do_not_count(tmp_path):
    images, labels = textures.textures(5)
    textures.write_folders(tmp_path / "images", images, labels)
    broken = next((tmp_path / "images").rglob("*.png"))
    broken.write_bytes(broken.read_bytes()[:50])
    source = open_source(str(tmp_path / "images"))
    config = tiny("d", tmp_path / "run", "--cache=off")
    sample = take_sample(config, source, count=50, max_bad_fraction=1.0)
    assert (sample.readable, len(sample.sizes), len(sample.images)) == (0.95, 19, 19)
