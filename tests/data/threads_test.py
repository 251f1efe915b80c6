"""Pipelines that end without a wait."""

import numpy as np
import tensorflow as tf

from dc_keras.data.balanced import training_batches
from dc_keras.data.ordered import ordered_batches
from dc_keras.data.samplers import NaturalSampler
from dc_keras.data.sources import ArraySource
from dc_keras.data.threads import as_given


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
