"""Seeds, strategies, precision and memory."""

import platform
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from dc_keras.errors import InputError
from dc_keras.runtime import (
    computes_in_bfloat16,
    configure_devices,
    derive_seed,
    load_libraries_quietly,
    make_strategy,
    numpy_rng,
    precision_of_layers,
    processor,
)


def test_seeds_depend_on_every_key():
    seeds = {
        derive_seed(seed, purpose, epoch)
        for seed in (0, 31)
        for purpose in ("kmeans", "head")
        for epoch in range(50)
    }
    assert len(seeds) == 2 * 2 * 50


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
def test_what_the_processor_is(monkeypatch, text, name, fast):
    def read_text(path):
        if text is None:
            raise FileNotFoundError(path)
        return text

    monkeypatch.setattr("pathlib.Path.read_text", read_text)
    computes_in_bfloat16.cache_clear()
    found = processor()[0], computes_in_bfloat16()
    computes_in_bfloat16.cache_clear()
    assert found == (name, fast)


def test_seeds_are_the_same_in_every_process():
    # Literal values: Python's own hash() would differ from process to process.
    assert derive_seed(31, "kmeans", 4) == 1653544237
    assert derive_seed(31, "kmeans", 4) == derive_seed(31, "kmeans", np.int64(4))


def test_seeds_fit_what_the_libraries_take():
    seeds = [derive_seed(seed, "x") for seed in range(2000)]
    assert min(seeds) >= 0 and max(seeds) < 2**31 - 1
    # Uniform over the range: the mean of 2000 is within 5 standard errors of the middle.
    assert abs(np.mean(seeds) / 2**31 - 0.5) < 5 * (1 / 12) ** 0.5 / 2000**0.5


def test_generators_repeat_and_differ():
    same = numpy_rng(1, "a", 2).random(5)
    assert (same == numpy_rng(1, "a", 2).random(5)).all()
    assert (same != numpy_rng(1, "a", 3).random(5)).any()


def test_strategies(two_devices):
    assert make_strategy("one", 2).num_replicas_in_sync == 1
    assert make_strategy("mirrored", 2).num_replicas_in_sync == 2
    assert make_strategy("auto", 2).num_replicas_in_sync == 2
    assert make_strategy("auto", 0).num_replicas_in_sync == 1


def test_mirrored_needs_two_devices():
    with pytest.raises(InputError, match="at least two devices.*--virtual_devices=2"):
        make_strategy("mirrored", 0)


def test_unknown_strategy():
    with pytest.raises(InputError, match="Received: --strategy=tpu. Expected one of: auto, one"):
        make_strategy("tpu")


@pytest.mark.parametrize("start", [load_libraries_quietly, configure_devices])
def test_gpu_memory_is_taken_as_needed(monkeypatch, start):
    growing = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind}:0", f"{kind}:1"])
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, on: growing.append((gpu, on))
    )
    start()
    assert growing == [("GPU:0", True), ("GPU:1", True)]


def test_precision_holds_within_its_context_alone():
    with precision_of_layers("mixed_bfloat16"):
        layer = keras.layers.Dense(2)
        with pytest.raises(ValueError, match="ends it early"), precision_of_layers("mixed_float16"):
            raise ValueError("what ends it early")
        assert keras.layers.Dense(2).compute_dtype == "bfloat16"
    assert (layer.compute_dtype, layer.variable_dtype) == ("bfloat16", "float32")
    assert keras.layers.Dense(2).compute_dtype == "float32"


# Uses and frees 400 MB twice, and prints the pages that the second time had to be given, and the
# memory that the process holds at the end, in MB.
_ALLOCATES = """
import pathlib, resource, sys
import numpy as np
from dc_keras.runtime import keep_freed_memory, return_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
np.ones(50_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(50_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
if sys.argv[2] == "return":
    return_freed_memory()
print(int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone keeps memory")
def test_memory_is_kept_and_returned():
    def run(*what):
        program = [sys.executable, "-c", _ALLOCATES, *what]
        return [float(line) for line in subprocess.check_output(program, text=True).split()]

    given, held = run("default", "no")
    kept_given, kept_held = run("keep", "no")
    returned_given, returned_held = run("keep", "return")
    # Pages are 4 kB, or 2 MB where the system gives such to whoever asks for much.
    assert given >= 190 > 20 > kept_given and returned_given < 20
    # In between lie the 400 MB.
    assert kept_held - held > 350 and kept_held - returned_held > 350
