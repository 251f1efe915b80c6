"""What a run's parts take, as they are tried before it."""

import numpy as np
import tensorflow as tf

import textures
from dc_keras import assembly
from dc_keras.assembly import Schedule
from dc_keras.data.sources.arrays import open_npz
from dc_keras.data.sources.stand_ins import SourceWithStandIns
from dc_keras.training import measuring
from tiny import tiny


class CountingSource(SourceWithStandIns):
    """Counts the images that are read."""

    def __init__(self, source):
        super().__init__(source, source.names, 0.0, report=lambda reasons: None)
        self.read = 0

    def load(self, index):
        return super().load(tf.ensure_shape(tf.py_function(self._count, [index], tf.int64), ()))

    def _count(self, index):
        self.read += 1
        return tf.cast(index, tf.int64)


def test_images_are_read_beside_all_steps_that_are_timed(tmp_path):
    images, _ = textures.textures(16)
    np.savez(tmp_path / "images.npz", images=images)
    config = tiny(tmp_path / "images.npz", tmp_path / "run")
    source = CountingSource(open_npz(config.data_dir))
    model = assembly.build_trainer(config, Schedule.of(config, len(source)))
    effort = measuring.Effort(steps=3, warm_up=0)
    _, step = measuring._seconds_of_steps(config, source, model, effort)
    assert 0 < step < 60
    # While the first step compiles, more is read than three steps take.
    assert source.read > effort.steps * config.batch_size
