"""Pipelines that take functions as they are written and end without a wait."""

import inspect

import numpy as np
import tensorflow as tf

from dc_keras.data.balanced import training_batches
from dc_keras.data.ordered import ordered_batches
from dc_keras.data.samplers import NaturalSampler
from dc_keras.data.sources import ArraySource
from dc_keras.data.threads import as_given, in_threads


def test_functions_are_applied_in_order_and_as_they_are_written():
    places = []

    def inner(number):
        # What autograph makes of a function lies in a file of its own.
        places.append(inspect.currentframe().f_code.co_filename)
        return number * number

    dataset = tf.data.Dataset.range(100).apply(in_threads(lambda number: inner(number)))
    assert list(dataset.as_numpy_iterator()) == [number**2 for number in range(100)]
    assert set(places) == {__file__}


def test_a_dataset_as_given_keeps_its_other_options():
    options = tf.data.Options()
    options.deterministic = False
    dataset = as_given(tf.data.Dataset.range(3).with_options(options))
    assert dataset.options().deterministic is False
    assert dataset.options().autotune.enabled is False
    assert list(dataset.as_numpy_iterator()) == [0, 1, 2]


def test_what_is_iterated_each_epoch_is_as_given():
    source = ArraySource(np.zeros((4, 8, 8, 3), np.uint8), list("abcd"))
    sampler = NaturalSampler(4, 4)
    training = training_batches(source, sampler, num_batches=1, batch_size=4, image_size=8)
    ordered = ordered_batches(source, np.arange(4), image_size=8, batch_size=4)
    for dataset in (training, ordered):
        assert dataset.options().autotune.enabled is False
        assert (
            dataset.options().experimental_distribute.auto_shard_policy
            == tf.data.experimental.AutoShardPolicy.OFF
        )
