"""The machine under the program: seeds, devices and the distribution strategy.

TensorFlow is imported inside the functions, so that seeds can be derived without loading it.
"""

import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import pathlib
import re
from collections.abc import Iterator

import absl.logging
import numpy as np

from dc_keras.errors import InputError

STRATEGIES = ("auto", "one", "mirrored")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def derive_seed(seed: int, purpose: str, *keys: int) -> int:
    """Derives the seed of one random decision from the run's seed.

    Nothing in the program draws from a shared generator: a decision names its purpose and place
    (epoch, position), so that it comes out the same after a resume and whatever ran before it.

    Args:
        seed: The run's seed.
        purpose: What is drawn, such as "kmeans" or "head".
        *keys: Where it is drawn: epoch, position.

    Returns:
        An integer in [0, 2**31 - 1), which every library here takes as a seed.
    """
    text = ":".join([str(int(seed)), purpose, *(str(int(key)) for key in keys)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % (2**31 - 1)


def numpy_rng(seed: int, purpose: str, *keys: int) -> np.random.Generator:
    """A NumPy generator for one purpose and place; see `derive_seed`."""
    return np.random.default_rng(derive_seed(seed, purpose, *keys))


def load_libraries_quietly() -> None:
    """Loads TensorFlow and Faiss without their notes about this machine.

    TensorFlow prints half a dozen lines about instruction sets and missing GPUs before its log
    level can be set, and Faiss tells which of its builds it tries. Programs call this first, so GPU
    memory is seen to here as well. What goes wrong still comes through, as exceptions; what
    TensorFlow logs as errors beside them are such things as each line of a damaged JPEG, which the
    inspection reports in plain words.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)
    # absl's programs show everything that TensorFlow logs at level INFO, such as names of files.
    absl.logging.set_verbosity(absl.logging.WARNING)
    with without_native_messages():
        import tensorflow as tf

        _take_gpu_memory_as_needed(tf.config)


def _take_gpu_memory_as_needed(tensorflow_config) -> None:
    """Leaves GPU memory to Faiss, which shares the cards; must run before the first operation."""
    for gpu in tensorflow_config.list_physical_devices("GPU"):
        tensorflow_config.experimental.set_memory_growth(gpu, True)


@contextlib.contextmanager
def without_native_messages() -> Iterator[None]:
    """Discards what C++ code writes to the standard error."""
    standard_error = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)
        os.close(nowhere)


# Parameters of the C library's mallopt, as its malloc.h numbers them.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Has the process keep what it frees for what it allocates next, where it computes on CPUs.

    Every training step allocates and frees the same large arrays. The C library gives large ones
    back to the system at once, which has to clear each page of them the next time. With wide
    networks that takes a fifth of the time. `return_freed_memory` gives back what is left over.

    Call it before TensorFlow's first operation: threads that start earlier have heaps of their own.
    Other C libraries than glibc are left as they are.
    """
    import tensorflow as tf

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or tf.config.list_physical_devices("GPU"):
        return
    mallopt(_ARENA_MAX, 1)
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, -1)


def prepare_process() -> None:
    """What programs that compute call first: loads libraries quietly and keeps freed memory."""
    load_libraries_quietly()
    keep_freed_memory()


def return_freed_memory() -> None:
    """Gives freed memory back to the system, whatever `keep_freed_memory` said.

    Cost: about 0.1 s a GB, and as much when the memory is needed again.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def configure_devices(virtual_devices: int = 0) -> None:
    """Prepares the devices. Must run before TensorFlow's first operation.

    GPU memory is taken as needed, because Faiss shares the card with TensorFlow.

    Args:
        virtual_devices: Splits the CPU into this many devices, to try a MirroredStrategy on a
            machine without GPUs; 0 leaves it whole.

    Raises:
        InputError: If TensorFlow has already started with other devices.
    """
    import tensorflow as tf

    try:
        _take_gpu_memory_as_needed(tf.config)
        if virtual_devices > 0:
            cpu = tf.config.list_physical_devices("CPU")[0]
            part = tf.config.LogicalDeviceConfiguration()
            if len(tf.config.get_logical_device_configuration(cpu) or []) != virtual_devices:
                tf.config.set_logical_device_configuration(cpu, [part] * virtual_devices)
    except RuntimeError as error:
        raise InputError(
            "The devices cannot be configured because TensorFlow is already running. "
            f"Received: virtual_devices={virtual_devices}. "
            "Call configure_devices before anything else that uses TensorFlow."
        ) from error


def processor() -> tuple[str, frozenset[str]]:
    """The processor's name and its instruction sets, as Linux names them; empty elsewhere."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return "", frozenset()
    facts = dict(re.findall(r"^(model name|flags|Features)\s*: (.*)$", text, re.MULTILINE))
    instructions = facts.get("flags") or facts.get("Features", "")
    return facts.get("model name", "").strip(), frozenset(instructions.split())


@functools.cache
def computes_in_bfloat16() -> bool | None:
    """Whether the processor multiplies 16-bit numbers faster than float32; None if unknown."""
    instructions = processor()[1]
    if not instructions:
        return None
    return not instructions.isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


def make_deterministic() -> None:
    """Has TensorFlow compute in a fixed order, for the rest of the process."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


@contextlib.contextmanager
def precision_of_layers(name: str) -> Iterator[None]:
    """Has layers that are made in this context compute in a precision.

    Weights are float32 whatever the precision.

    Args:
        name: One of `PRECISIONS`, or another of Keras's dtype policies.
    """
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def make_strategy(name: str = "auto", virtual_devices: int = 0):
    """Makes the distribution strategy of a run.

    Args:
        name: "one" for one device; "mirrored" for every device of the machine; "auto" for
            "mirrored" where the machine has more than one GPU (or virtual device), else "one".
        virtual_devices: Number of virtual CPU devices that `configure_devices` made.

    Returns:
        A `tf.distribute.Strategy`.

    Raises:
        InputError: If the name is unknown, or "mirrored" has fewer than two devices.
    """
    import tensorflow as tf

    if name not in STRATEGIES:
        raise InputError(
            f"Unknown strategy. Received: --strategy={name}. Expected one of: "
            f"{', '.join(STRATEGIES)}."
        )
    gpus = tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus]
    if virtual_devices > 0:
        devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    if name == "mirrored" and len(devices) < 2:
        raise InputError(
            "A mirrored strategy needs at least two devices. "
            f"Received: --strategy=mirrored on a machine with {len(gpus)} GPU(s). "
            "Use --strategy=one, or split the CPU with --virtual_devices=2 to try it out."
        )
    if not devices:
        # TensorFlow's own place: batches go from tf.data to the network with nothing between.
        return tf.distribute.get_strategy()
    if name == "one" or len(devices) < 2:
        return tf.distribute.OneDeviceStrategy(devices[0])
    # Virtual devices share a memory, so there is nothing to gain from TensorFlow's collectives, and
    # two strategies in one process (tests, notebooks) would confuse each other's.
    on_one_cpu = tf.distribute.ReductionToOneDevice() if virtual_devices > 0 else None
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=on_one_cpu)
