"""Devices, strategies, precision, and what the processor can do."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from dc_keras.errors import InputError
from dc_keras.machine import (
    compiles_steps,
    computes_in_bfloat16,
    configure_devices,
    library_versions,
    make_strategy,
    may_gain_by_bfloat16,
    precision_of_layers,
    processor,
)


@pytest.fixture
def unknown_processor():
    """Has the processor looked at anew, in the test and behind it."""
    computes_in_bfloat16.cache_clear()
    yield
    computes_in_bfloat16.cache_clear()


@pytest.mark.parametrize(
    ("text", "name", "fast"),
    [
        ("model name\t: AMD EPYC\nflags\t\t: fpu avx2\nflags\t\t: fpu avx2\n", "AMD EPYC", False),
        ("model name\t: Xeon\nflags\t\t: avx512f avx512_bf16\n", "Xeon", True),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", "", True),
        ("processor\t: 0\n", "", None),
        (None, "", None),
    ],
)
def test_what_the_processor_is(monkeypatch, unknown_processor, text, name, fast):
    def read_text(path):
        if text is None:
            raise FileNotFoundError(path)
        return text

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.read_text", read_text)
        assert (processor()[0], computes_in_bfloat16()) == (name, fast)


@pytest.mark.parametrize(
    ("name", "virtual_devices", "replicas"),
    [("one", 2, 1), ("mirrored", 2, 2), ("auto", 2, 2), ("auto", 0, 1)],
)
def test_strategies(two_devices, name, virtual_devices, replicas):
    assert make_strategy(name, virtual_devices).num_replicas_in_sync == replicas


def test_mirrored_on_a_single_device_is_what_tensorflow_makes_of_it(two_devices):
    strategy = make_strategy("mirrored", 0)
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    assert strategy.num_replicas_in_sync == 1


WORKERS = {"worker": ["a:1", "b:1"]}


@pytest.mark.parametrize("strategy", ["auto", "one", "mirrored"])
@pytest.mark.parametrize(
    ("value", "found"),
    [
        (json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": 1}}), "2 machines"),
        (json.dumps({"cluster": WORKERS | {"chief": ["c:1"]}}), "3 machines"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"cluster": 3}', "cannot be read"),
    ],
)
def test_one_of_several_machines_is_refused(monkeypatch, strategy, value, found):
    monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(InputError, match=f"{found}.*env -u TF_CONFIG"):
        make_strategy(strategy)


@pytest.mark.parametrize("value", ["", "{}", json.dumps({"cluster": {"worker": ["a:1"]}})])
def test_a_cluster_of_one_machine_is_none(monkeypatch, value):
    monkeypatch.setenv("TF_CONFIG", value)
    assert make_strategy("one").num_replicas_in_sync == 1


def test_unknown_strategy():
    with pytest.raises(InputError, match="Received: --strategy=tpu. Expected one of: auto, one"):
        make_strategy("tpu")


def test_devices_cannot_be_changed_once_tensorflow_runs(two_devices):
    with pytest.raises(InputError, match="already running. Received: virtual_devices=3"):
        configure_devices(virtual_devices=3)


def test_the_same_devices_can_be_asked_for_again(two_devices):
    configure_devices(virtual_devices=2)
    assert [device.name for device in tf.config.list_logical_devices("CPU")] == two_devices


def test_gpu_memory_is_taken_as_needed(monkeypatch):
    growing = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind}:0", f"{kind}:1"])
    # The second is split already, which fixes its memory.
    monkeypatch.setattr(
        tf.config, "get_logical_device_configuration", lambda gpu: gpu == "GPU:1" and ["a", "b"]
    )
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, on: growing.append((gpu, on))
    )
    configure_devices()
    assert growing == [("GPU:0", True)]


@pytest.fixture
def card(monkeypatch):
    """Makes TensorFlow tell of a GPU of some compute capability, without one being there."""

    def there_is(**details):
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)

    return there_is


def test_a_gpu_is_split_into_parts_of_fixed_memory(monkeypatch, card):
    card()
    asked = {}
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: None)
    monkeypatch.setattr(tf.config, "get_logical_device_configuration", asked.get)
    monkeypatch.setattr(tf.config, "set_logical_device_configuration", asked.__setitem__)
    configure_devices(virtual_devices=2)
    assert [part.memory_limit for part in asked["GPU:0"]] == [4096, 4096]


@pytest.mark.parametrize(
    ("capability", "steps", "deterministic", "compiled"),
    [
        ((9, 0), 10_000, False, True),
        ((7, 0), 10**7, False, True),
        ((9, 0), 9_999, False, False),
        ((9, 0), 10_000, True, False),
        ((6, 1), 10_000, False, False),
        ((12, 0), 10_000, False, False),
        (None, 10_000, False, False),
    ],
)
def test_long_runs_on_a_known_gpu_are_compiled(card, capability, steps, deterministic, compiled):
    card(compute_capability=capability)
    assert compiles_steps("auto", steps, deterministic=deterministic) == compiled
    assert compiles_steps("on", 1, deterministic=False)
    assert not compiles_steps("off", steps, deterministic=deterministic)


@pytest.mark.parametrize(("capability", "worth"), [((7, 5), False), ((8, 0), True), (None, True)])
def test_a_card_that_imitates_bfloat16_is_not_tried_with_it(card, capability, worth):
    card(compute_capability=capability)
    assert may_gain_by_bfloat16() == worth


@pytest.mark.parametrize(("fast", "worth"), [(True, True), (None, True), (False, False)])
def test_a_processor_that_imitates_bfloat16_is_not_tried_with_it(monkeypatch, fast, worth):
    monkeypatch.setattr("dc_keras.machine.computes_in_bfloat16", lambda: fast)
    assert may_gain_by_bfloat16() == worth


def test_nothing_is_compiled_without_a_gpu_unless_asked_for():
    assert not compiles_steps("auto", 10**7, deterministic=False)
    assert compiles_steps("on", 1, deterministic=False)


def test_several_replicas_are_not_compiled(two_devices, card):
    with make_strategy("mirrored", 2).scope():
        card(compute_capability=(9, 0))
        assert not compiles_steps("auto", 10**7, deterministic=False)
        with pytest.raises(InputError, match="--xla=on with 2 replicas. Expected --xla=auto"):
            compiles_steps("on", 10**7, deterministic=False)


def test_layers_compute_in_the_precision_and_keep_weights_in_float32():
    with precision_of_layers("mixed_bfloat16"):
        layer = keras.layers.Dense(2)
    assert (layer.compute_dtype, layer.variable_dtype) == ("bfloat16", "float32")


def test_precision_holds_within_its_context_alone():
    with precision_of_layers("mixed_bfloat16"):
        pass
    assert keras.layers.Dense(2).compute_dtype == "float32"


def test_precision_is_put_back_when_something_ends_the_context():
    with precision_of_layers("mixed_bfloat16"):
        with pytest.raises(ValueError, match="ends it early"), precision_of_layers("mixed_float16"):
            raise ValueError("what ends it early")
        assert keras.layers.Dense(2).compute_dtype == "bfloat16"


def test_versions_without_importing_tensorflow():
    script = (
        "import sys\n"
        "from dc_keras.machine import library_versions\n"
        "print(library_versions()['numpy'], 'tensorflow' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == [np.__version__, "False"]
    assert "unknown" not in library_versions().values()
