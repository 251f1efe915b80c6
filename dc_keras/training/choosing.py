"""Chooses the flags of a run that begins: looks at its images, and tries a network or three.

What is chosen, and why, is in `choices`. A run that is there already keeps its own flags: how fast
the machine is on another day must not decide about it.
"""

import dataclasses
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from dc_keras import assembly
from dc_keras.config import TrainingConfig
from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.open import open_source
from dc_keras.machine import may_gain_by_bfloat16
from dc_keras.memory import free_memory
from dc_keras.process import return_freed_memory
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.training.choices import Choice, Facts, Speed, choose, guess
from dc_keras.training.images import check_number_of_clusters
from dc_keras.training.measuring import Effort, Sample, measure, take_sample
from dc_keras.training.run_time import Measured, run_time

_IMAGES = 512
_EFFORT = Effort(images=256, steps=12, warm_up=1, seconds=6.0)
# Networks that are tried at most, and the part of the time, and the seconds, after which none is;
# what the one that is chosen takes is then worked out from another.
_TRIES, _PART, _SECONDS = 3, 0.15, 40
# Left for what is not foreseen.
_SPARE = 0.05
# A pixel has a colour where its channels differ by more than grey JPEGs' do.
_GREY, _COLOR_SIDE = 3, 32


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The settings of a run, with those that were chosen.

    Attributes:
        config: In which nothing waits to be chosen.
        told: What was chosen and why, in lines; none where nothing was.
        measured: What its parts take, if they were tried.
    """

    config: TrainingConfig
    told: tuple[str, ...] = ()
    measured: Measured | None = None


def with_choices(config: TrainingConfig, run: RunDirectory) -> Chosen:
    """The settings with what `--choose` asks for.

    Args:
        config: Validated settings with absolute paths.
        run: Where the run is or will be. If it is there, its own flags hold.

    Raises:
        InputError: If there are no images, or fewer than given clusters.
    """
    if not config.choose:
        return Chosen(config)
    if run.exists():
        own = run.config()
        kept = {name: getattr(own, name) for name in config.to_choose}
        return Chosen(dataclasses.replace(config, **kept, choose="", hours=1.0))
    # Whether it can be there at all.
    run.check(config)
    return _chosen(config, began=time.monotonic())


def _chosen(config: TrainingConfig, began: float) -> Chosen:
    """Looks at the images, tries networks until the one that is chosen was tried, and chooses."""
    strategy = assembly.prepare_devices(config)
    source = open_source(config.data_dir, config.labels, assembly.pixel_options(config))
    fewest = 2 if "num_clusters" in config.to_choose else config.num_clusters
    check_number_of_clusters(fewest, len(source))
    sample = take_sample(config, source, _IMAGES, max_bad_fraction=1.0)
    facts = look(source, sample, strategy, config.hours * 3600)

    def facts_now() -> Facts:
        left = (facts.seconds - (time.monotonic() - began)) * (1 - _SPARE)
        return dataclasses.replace(facts, seconds=max(0.0, left))

    def tried(wanted: TrainingConfig) -> Speed:
        with strategy.scope():
            measured = measure(wanted, facts.num_images, sample, _EFFORT)
        # Names of layers and variables are counted from the start again.
        keras.utils.clear_session()
        return_freed_memory()
        return Speed(wanted.image_size, wanted.width, measured)

    print("Trying how fast this machine is ...", file=sys.stderr, flush=True)
    first, _ = choose(facts_now(), config, guess(facts, config))
    speed = tried(first)
    if "precision" in config.to_choose and may_gain_by_bfloat16():
        other = tried(dataclasses.replace(first, precision="mixed_bfloat16"))
        gain = speed.measured.crop / other.measured.crop
        facts = dataclasses.replace(facts, bfloat16=gain)
        speed = other if facts.bfloat16_pays else speed
    chosen, choices = choose(facts_now(), config, speed)
    for _ in range(_TRIES - 1):
        known = (chosen.image_size, chosen.width) == (speed.image_size, speed.width)
        if known or time.monotonic() - began > min(_PART * facts.seconds, _SECONDS):
            break
        speed = tried(chosen)
        chosen, choices = choose(facts_now(), config, speed)
    measured = speed.at(chosen.image_size, chosen.width)
    header = f"Chosen for {facts.num_images:,} images and {config.hours:g} h, what is given stays:"
    expected = run_time(chosen, facts.num_images, measured).told()
    return Chosen(chosen, (header, *table(choices), f"Expected: {expected}"), measured)


def look(
    source: ImageSource, sample: Sample, strategy: tf.distribute.Strategy, seconds: float
) -> Facts:
    """What is known of the images and the machine.

    Args:
        source: All images.
        sample: Some of them.
        strategy: That the run will use.
        seconds: Time that it may take.
    """
    batches = ordered_batches(
        sample.images,
        np.arange(min(len(sample.images), 256)),
        image_size=_COLOR_SIDE,
        batch_size=64,
    )
    coloured = np.concatenate([_have_colours(batch) for batch in batches.as_numpy_iterator()])
    return Facts(
        num_images=max(1, round(len(source) * sample.readable)),
        sizes=sample.sizes,
        coloured=float(coloured.mean()),
        free_bytes=free_memory().bytes,
        replicas=strategy.num_replicas_in_sync,
        seconds=seconds,
    )


def _have_colours(images: np.ndarray) -> np.ndarray:
    """Whether a hundredth of the pixels of each image has a colour, uint8 (b, s, s, 3) to (b,)."""
    spread = images.max(axis=-1) - images.min(axis=-1)
    return (spread > _GREY).mean(axis=(1, 2)) > 0.01


def table(choices: list[Choice]) -> list[str]:
    """Choices as lines of three columns: flag, value, why.

    >>> table([Choice("hflip", True, "usual"), Choice("width", 0.25, "there is time for it")])
    ['  --hflip  true  usual', '  --width  0.25  there is time for it']
    """
    values = [str(choice.value).lower() for choice in choices]
    names = max((len(choice.name) for choice in choices), default=0)
    width = max(map(len, values), default=0)
    return [
        f"  --{choice.name:{names}}  {value:{width}}  {choice.why}"
        for choice, value in zip(choices, values, strict=True)
    ]
