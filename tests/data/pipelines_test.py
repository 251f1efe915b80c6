"""Pipelines that take functions as they are written and end without a wait."""

import inspect

import numpy as np
import pytest
import tensorflow as tf

from dc_keras.data.batches.listed import NaturalSampler
from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.batches.training import TrainingBatches
from dc_keras.data.pipelines import in_threads, unchanged
from dc_keras.data.pixels.augmentation import Augmentation
from dc_keras.data.sources.arrays import ArraySource


def test_functions_are_applied_in_order_and_as_they_are_written():
    places = []

    def inner(number):
        # What autograph makes of a function lies in a file of its own.
        places.append(inspect.currentframe().f_code.co_filename)
        return number * number

    dataset = tf.data.Dataset.range(100).apply(in_threads(lambda number: inner(number)))
    assert list(dataset.as_numpy_iterator()) == [number**2 for number in range(100)]
    assert set(places) == {__file__}


def test_an_unchanged_dataset_keeps_its_other_options():
    options = tf.data.Options()
    options.deterministic = False
    dataset = unchanged(tf.data.Dataset.range(3).with_options(options))
    assert dataset.options().deterministic is False
    assert dataset.options().autotune.enabled is False
    assert list(dataset.as_numpy_iterator()) == [0, 1, 2]


def ordered(source):
    return ordered_batches(source, np.arange(4), image_size=8, batch_size=4)


def training(source):
    return TrainingBatches(
        source, NaturalSampler(4, 4), Augmentation(image_size=8), steps=1, batch_size=4
    ).dataset()


@pytest.mark.parametrize("batches", [ordered, training])
def test_what_is_iterated_each_epoch_is_unchanged(batches):
    source = ArraySource(np.zeros((4, 8, 8, 3), np.uint8), list("abcd"))
    options = batches(source).options()
    assert options.autotune.enabled is False
    assert (
        options.experimental_distribute.auto_shard_policy
        == tf.data.experimental.AutoShardPolicy.OFF
    )
