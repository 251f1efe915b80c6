"""What is chosen for a run: worked out on paper, and for any images at all."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dc_keras.config import TrainingConfig
from dc_keras.config.training import CHOOSABLE, MODES
from dc_keras.training.choices import GUESS, Facts, Speed, choose

# 1,000 crops a second at 32 pixels, of which reading takes no time.
FAST = Speed(32, 0.25, dataclasses.replace(GUESS, crop=1e-3, reading=0.0, features=3e-4))


def facts(num_images=10_000, *sizes, **changes):
    made = Facts(
        num_images=num_images,
        sizes=np.array(sizes or [(32, 32)]),
        coloured=1.0,
        free_bytes=20e9,
        replicas=1,
        seconds=3600.0,
    )
    return dataclasses.replace(made, **changes)


def asked(*more):
    return TrainingConfig.from_arguments(["--preset=auto", "--data_dir=d", "--run_dir=r", *more])


def chosen(known, *more, speed=FAST):
    config, made = choose(known, asked(*more), speed)
    assert all(choice.why for choice in made)
    assert {choice.name: getattr(config, choice.name) for choice in made} == {
        choice.name: choice.value for choice in made
    }
    return config


def test_ten_thousand_thumbnails_in_an_hour():
    config = chosen(facts())
    # 10,000 / (8 * 10,000 ** 0.2) = 198: some 50 images for each, as in the preset small_images.
    assert (config.mode, config.num_clusters, config.pca_dim) == ("improved", 200, 128)
    # Twice as wide takes 2 ** 1.5 times as long: 3600 s / 2.83 ms are more than a million crops.
    assert (config.arch, config.image_size, config.width) == ("compact", 32, 0.5)
    assert 1_000_000 < config.epochs * 10_000 < 1_272_000
    assert (config.batch_size, config.learning_rate, config.reassign) == (256, 0.02, 10)
    assert config.optimizer == "muon"
    assert (config.fit, config.crop_min_area, config.color_jitter) == ("crop_large", 0.2, 1)
    assert config.learning_rate_schedule == "cosine" and config.weight_decay == 1e-4


@pytest.mark.parametrize(("seconds", "width"), [(1600.0, 0.375), (2000.0, 0.5)])
def test_a_wider_network_wants_six_hundred_thousand_crops(seconds, width):
    # At width 0.5 a crop takes 2.83 ms: 565,000 and 707,000 of them, less the clusterings.
    assert chosen(facts(seconds=seconds)).width == width


def test_the_widest_wants_a_million_crops():
    # At width 0.75 a crop takes 5.2 ms: 962,000 and 1,350,000 of them, less the clusterings.
    assert chosen(facts(100_000, seconds=5000.0)).width == 0.5
    assert chosen(facts(100_000, seconds=7000.0)).width == 0.75


def test_small_images_get_what_their_preset_has():
    """All that the preset says of the network, its crops, loss and clusters."""
    preset = TrainingConfig.from_arguments(["--preset=small_images", "--data_dir=d", "--run_dir=r"])
    config = chosen(facts(seconds=1200.0))
    time_alone = {"choose", "hours", "epochs", "reassign"}
    for name in CHOOSABLE:
        if name not in time_alone:
            assert getattr(config, name) == getattr(preset, name), name


@pytest.mark.parametrize(
    ("images", "replicas", "given", "views"),
    [
        (10_000, 1, [], 4),
        (10_000, 2, [], 4),
        (10_000, 3, [], 2),
        (500, 1, [], 2),
        (10_000, 1, ["--batch_size=64"], 2),
        (10_000, 1, ["--mode=paper"], 2),
        (10_000, 1, ["--instance_weight=0"], 2),
        (10_000, 1, ["--instance_views=3", "--batch_size=255"], 3),
    ],
)
def test_more_crops_of_an_image_where_batches_have_many_images(images, replicas, given, views):
    config = chosen(facts(images, replicas=replicas, seconds=1200.0), *given)
    assert config.instance_views == views
    assert config.batch_size % (replicas * config.views) == 0


@pytest.mark.parametrize(
    "given", ["--mode=paper", "--sobel", "--arch=vgg16", "--image_size=160", "--arch=alexnet"]
)
def test_what_excludes_the_network_for_small_images_leaves_the_rest_as_the_mode_has_it(given):
    config = chosen(facts(), given)
    assert config.arch != "compact" and config.crop_min_area == 0.08
    assert (config.whitened_patches, config.crop_scale, config.diffusion_neighbours) == (0, 1, 0)
    assert (config.instance_temperature, config.whiten) == (0.2, config.mode == "paper")
    assert config.instance_views == 2


@pytest.mark.parametrize(
    ("gain", "given", "precision"),
    [
        (None, [], "float32"),
        (0.4, [], "float32"),
        (1.1, [], "float32"),
        (1.2, [], "mixed_bfloat16"),
        (3.0, ["--mode=paper"], "float32"),
        (3.0, ["--precision=mixed_float16"], "mixed_float16"),
    ],
)
def test_16_bits_where_they_were_seen_to_pay(gain, given, precision):
    assert chosen(facts(bfloat16=gain), *given).precision == precision


def test_larger_inputs_have_the_published_network():
    photographs = facts(1000, (375, 500), seconds=1e6)
    assert chosen(photographs).arch == "compact"
    assert chosen(photographs, "--image_size=128").arch == "compact"
    assert chosen(photographs, "--image_size=160").arch == "vgg16"


@pytest.mark.parametrize(("side", "size"), [(8, 32), (28, 32), (50, 64), (96, 64), (4000, 64)])
def test_images_are_not_shown_larger_than_they_are_where_there_is_time(side, size):
    assert chosen(facts(1000, (side, side), seconds=1e6)).image_size == size
    if side == 4000:
        assert chosen(facts(1000, (side, side), seconds=1e6), "--arch=vgg16").image_size == 224


def test_a_photograph_is_told_why_it_becomes_small():
    made = choose(facts(1000, (375, 500), seconds=1e6), asked(), FAST)[1]
    why = {choice.name: (choice.value, choice.why) for choice in made}
    assert why["image_size"] == (64, "compact was not measured with larger ones")


def test_photographs_are_as_large_as_time_lets_them_be_seen():
    # At 128 pixels a crop takes 16 ms: 100,000 of them take 1,600 s, clusterings some more; at 160
    # they would take 2,500 s.
    photographs = facts(2000, (375, 500), seconds=2400.0)
    vgg16 = "--arch=vgg16"
    assert chosen(photographs, vgg16, "--width=0.25").image_size == 128
    assert chosen(photographs, vgg16, "--width=1").image_size < 128
    assert chosen(photographs, vgg16, "--epochs=10", "--width=0.25").image_size == 224
    why = {choice.name: choice.why for choice in choose(photographs, asked(vgg16), FAST)[1]}
    assert why["image_size"].startswith("160 would see ")
    assert why["image_size"].endswith(" of 100,000 wanted")


@pytest.mark.parametrize(
    ("num_images", "clusters", "pca_dim", "batch"),
    [(2, 2, 8, 4), (5, 2, 8, 8), (40, 5, 8, 16), (140, 10, 32, 32), (1797, 50, 128, 256)],
)
def test_few_images_have_few_clusters_directions_and_small_batches(
    num_images, clusters, pca_dim, batch
):
    config = chosen(facts(num_images))
    assert (config.num_clusters, config.pca_dim) == (clusters, pca_dim)
    assert (config.batch_size, config.width) == (batch, 0.375)


def test_passes_over_few_images_have_an_end():
    assert chosen(facts(40, seconds=1e6)).epochs == 400


def test_there_is_always_one_epoch():
    config, made = choose(facts(10**7, seconds=1.0), asked(), FAST)
    assert (config.epochs, config.reassign, config.image_size) == (1, 1, 32)
    assert "takes more than the 1.0 s" in next(c.why for c in made if c.name == "epochs")


def test_small_images_are_not_cut_to_a_few_pixels():
    assert chosen(facts(1000, (8, 8))).crop_min_area == 0.5
    assert chosen(facts(1000, (18, 18))).crop_min_area == 0.25


@pytest.mark.parametrize(
    ("sizes", "fit"),
    [
        ([(300, 400)], "crop_large"),
        ([(100, 100), (100, 100), (64, 512)], "crop_large"),
        ([(64, 512), (60, 500)], "squash"),
        ([(64, 512), (512, 64)], "pad"),
        ([(1080, 1920), (1920, 1080)], "pad"),
    ],
)
def test_images_of_which_a_crop_shows_little_are_shown_whole(sizes, fit):
    assert chosen(facts(1000, *sizes)).fit == fit


def test_grey_images_keep_their_colours():
    config = chosen(facts(coloured=0.0))
    assert (config.color_jitter, config.grayscale) == (0, 0)


def test_memory_bounds_batches_and_descriptors():
    known = facts(2_000_000, (500, 500), free_bytes=2e9, seconds=1e9)
    config = chosen(known, "--arch=vgg16")
    # At width 1 and 224 pixels a crop takes 188 MB, and the least batch is 16.
    assert (config.image_size, config.batch_size, config.pca_dim) == (224, 16, 32)


def test_replicas_share_the_batch():
    assert chosen(facts(replicas=3)).batch_size == 252


def test_what_is_given_stays_and_the_rest_follows():
    config = chosen(facts(100_000), "--mode=paper", "--pca_images=100", "--batch_size=32")
    assert (config.mode, config.fit, config.batch_size, config.sobel) == ("paper", "crop", 32, True)
    assert config.pca_dim == 99
    assert config.learning_rate_schedule == "constant"
    assert (config.color_jitter, config.learning_rate) == (0, 0.05)
    assert chosen(facts(), "--batch_size=64").learning_rate == 0.01
    assert chosen(facts(), "--batch_size=64", "--optimizer=sgd").learning_rate == 0.025
    assert chosen(facts(40, seconds=1.0), "--reassign=6.5").epochs == 7
    assert chosen(facts(), "--arch=alexnet").image_size == 64


SIDES = st.integers(1, 20_000)


@given(
    num_images=st.integers(2, 10**8),
    sizes=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=5),
    coloured=st.sampled_from([0.0, 1.0]),
    free_bytes=st.floats(1e6, 1e12),
    replicas=st.integers(1, 9),
    seconds=st.floats(0, 1e7),
    crop=st.floats(1e-6, 10),
    more=st.lists(
        st.sampled_from(
            [*(f"--mode={mode}" for mode in MODES), "--arch=alexnet", "--epochs=3", "--reassign=9",
             "--image_size=96", "--width=0.3", "--pca_images=40", "--instance_weight=0",
             "--clustering=pic", "--sobel", "--arch=compact",
             "--final_clusters=2"]
        ),
        max_size=4,
    ),
)  # fmt: skip
def test_whatever_there_is_the_choices_go_together(
    num_images, sizes, coloured, free_bytes, replicas, seconds, crop, more
):
    asked_for = asked(*more)
    if asked_for.problems():
        return
    known = facts(
        num_images,
        *sizes,
        coloured=coloured,
        free_bytes=free_bytes,
        replicas=replicas,
        seconds=seconds,
    )
    speed = Speed(64, 0.25, dataclasses.replace(GUESS, crop=crop))
    config, made = choose(known, asked_for, speed)
    assert config.problems() == [] and not config.choose
    assert [choice.name for choice in made] == [n for n in CHOOSABLE if n in asked_for.to_choose]
    for name in dataclasses.asdict(config).keys() - asked_for.to_choose - {"choose", "hours"}:
        assert getattr(config, name) == getattr(asked_for, name)
    assert 2 <= config.num_clusters <= num_images
    assert config.batch_size % (replicas * config.views) == 0
    assert config.batch_size <= max(2 * num_images, replicas * config.views)
    assert config.image_size % 32 == 0 and 32 <= config.image_size <= 224
    assert config.epochs >= 1 and config.width in (0.25, 0.3, 0.375, 0.5, 0.75, 1.0)
    # What is chosen repeats, and is written as flags that can be read.
    assert choose(known, asked_for, speed)[0] == config
    assert TrainingConfig.from_arguments(config.to_flagfile().split("\n")[:-1]) == config
