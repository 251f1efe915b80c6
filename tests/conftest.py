"""Devices and helpers that all tests share.

The CPU is split in two before TensorFlow starts, so that MirroredStrategy can be tested beside
everything else in one process.
"""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import hypothesis
import numpy as np
import pytest

import textures

# How long an example takes is the machine's matter: a busy one would fail tests.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def _split_cpu_before_tensorflow_starts():
    from dc_keras.machine import configure_devices

    configure_devices(virtual_devices=2)


@pytest.fixture(scope="session")
def two_devices(_split_cpu_before_tensorflow_starts):
    """Names of the two virtual CPU devices."""
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices("CPU")]


@pytest.fixture
def warnings_told(caplog, monkeypatch):
    """Returns the warnings that the program has told so far and that contain a text."""
    from absl import logging

    monkeypatch.setattr(logging.get_absl_logger(), "propagate", True)
    caplog.set_level("WARNING")

    def told(text):
        messages = [record.getMessage() for record in caplog.records]
        return [message for message in messages if text in message]

    return told


@pytest.fixture(scope="session")
def torch():
    """PyTorch, to compare with; tests that ask for it skip where it is not installed."""
    return pytest.importorskip(
        "torch", reason="PyTorch is not installed: pip install -r requirements-torch.txt"
    )


@pytest.fixture
def rng():
    """A generator with a fixed seed."""
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def npz(tmp_path_factory):
    """A data set of 64 textures in four classes, for runs; nothing may be written beside it."""
    path = tmp_path_factory.mktemp("data") / "textures.npz"
    images, labels = textures.textures(16)
    np.savez(path, images=images, labels=labels)
    return path
