"""The machine under the program: devices, their strategy, precision, instructions.

TensorFlow is imported inside the functions, so that flags can be checked without loading it.
"""

import contextlib
import functools
import importlib.metadata
import os
import pathlib
import re
from collections.abc import Iterator

from dc_keras.errors import InputError
from dc_keras.tf_config import VARIABLE, number_of_machines

STRATEGIES = ("auto", "one", "mirrored")
# Of the training alone: machines that TF_CONFIG names.
MULTI_WORKER = "multi_worker"
# Memory of a virtual device on a GPU: it has to be fixed.
_PART_OF_GPU_MIB = 4096
_LIBRARIES = ("dc_keras", "tensorflow", "keras", "faiss", "numpy")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
XLA = ("auto", "on", "off")
# Compiling takes a minute, which a step of milliseconds earns back in some ten thousand.
_STEPS_WORTH_COMPILING = 10_000
# Compute capabilities of the cards that TensorFlow 2.21's XLA has code for; Blackwell is not there.
_OLDEST, _TOO_NEW = (7, 0), (10, 0)
_FIRST_WITH_BFLOAT16 = (8, 0)


def take_gpu_memory_as_needed(tensorflow_config) -> None:
    """Leaves GPU memory to Faiss, which shares the cards; must run before the first operation."""
    for gpu in tensorflow_config.list_physical_devices("GPU"):
        # Parts of a card have a fixed memory.
        if not tensorflow_config.get_logical_device_configuration(gpu):
            tensorflow_config.experimental.set_memory_growth(gpu, True)


def configure_devices(virtual_devices: int = 0) -> None:
    """Prepares the devices. Must run before TensorFlow's first operation.

    GPU memory is taken as needed, because Faiss shares the card with TensorFlow.

    Args:
        virtual_devices: Splits the first GPU, or the CPU where there is none, into this many
            devices, to try a MirroredStrategy; 0 leaves it whole. Parts of a GPU have 4 GiB each.

    Raises:
        InputError: If TensorFlow has already started with other devices.
    """
    import tensorflow as tf

    try:
        take_gpu_memory_as_needed(tf.config)
        if virtual_devices > 0:
            gpus = tf.config.list_physical_devices("GPU")
            whole = (gpus or tf.config.list_physical_devices("CPU"))[0]
            limit = _PART_OF_GPU_MIB if gpus else None
            parts = [tf.config.LogicalDeviceConfiguration(limit)] * virtual_devices
            if len(tf.config.get_logical_device_configuration(whole) or []) != virtual_devices:
                tf.config.set_logical_device_configuration(whole, parts)
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


def may_gain_by_bfloat16() -> bool:
    """Whether bfloat16 is worth a try: not where the first GPU, or else the processor, imitates it.

    Whether it gains anything is another matter: that depends on the network and on its size.
    """
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return computes_in_bfloat16() is not False
    capability = _capability_of_first_gpu()
    return capability is None or capability >= _FIRST_WITH_BFLOAT16


def _capability_of_first_gpu() -> tuple[int, int] | None:
    """NVIDIA's compute capability of the first GPU, if there is one and TensorFlow tells it."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    return details.get("compute_capability")


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


def _refuse_several_machines() -> None:
    """Refuses to be one worker of several: each would train a run by itself, in the same folder.

    Raises:
        InputError: If the environment names more than one machine, or cannot be read.
    """
    machines = number_of_machines(os.environ)
    if machines is not None and machines <= 1:
        return
    found = "which cannot be read" if machines is None else f"with {machines:,} machines"
    raise InputError(
        f"Each of several machines would work by itself. Received: {VARIABLE} in the environment, "
        f"{found}. Expected --strategy=multi_worker, by which train.py trains on all of them "
        "together; or one machine alone, without the variable: "
        f"env -u {VARIABLE} python ..."
    )


def make_strategy(name: str = "auto", virtual_devices: int = 0):
    """Makes the distribution strategy of a run.

    Args:
        name: "one" for one device; "mirrored" for every GPU of the machine, or its processor where
            there is none; "auto" for "mirrored" where the machine has more than one GPU (or virtual
            device), else "one"; "multi_worker" for all GPUs of all machines that TF_CONFIG names,
            before TensorFlow's first operation.
        virtual_devices: Number of virtual devices that `configure_devices` made.

    Returns:
        A `tf.distribute.Strategy`.

    Raises:
        InputError: If the name is unknown, or the machine is meant to be one of several.
    """
    import tensorflow as tf

    if name == MULTI_WORKER:
        return tf.distribute.MultiWorkerMirroredStrategy()
    _refuse_several_machines()
    if name not in STRATEGIES:
        raise InputError(
            f"Unknown strategy. Received: --strategy={name}. Expected one of: "
            f"{', '.join(STRATEGIES)}."
        )
    devices = [device.name for device in tf.config.list_logical_devices("GPU")]
    if virtual_devices > 0 and not devices:
        devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    if name == "mirrored" and not devices:
        devices = ["/device:CPU:0"]
    if not devices:
        # TensorFlow's own place: batches go from tf.data to the network with nothing between.
        return tf.distribute.get_strategy()
    if name == "one" or (name == "auto" and len(devices) < 2):
        return tf.distribute.OneDeviceStrategy(devices[0])
    # Processors share a memory, so there is nothing to gain from TensorFlow's collectives, and two
    # strategies in one process (tests, notebooks) would confuse each other's. NVIDIA's refuse two
    # devices on one card.
    one_memory = "CPU" in devices[0] or virtual_devices > 0
    reduction = tf.distribute.ReductionToOneDevice() if one_memory else None
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction)


def devices_of(strategy) -> tuple[str, ...]:
    """Names of this process's devices that a strategy trains on; other workers have others."""
    import tensorflow as tf

    try:
        return tuple(strategy.extended.worker_devices)
    except RuntimeError:
        # TensorFlow's own place, without a strategy, tells its device by what is made there.
        return (tf.zeros([]).device,)


def compiles_steps(choice: str, num_steps: int, *, deterministic: bool) -> bool:
    """Whether XLA compiles the training step; call it in the scope of the run's strategy.

    Args:
        choice: "on" or "off"; "auto": where it pays, which is on one GPU of a kind that XLA knows,
            in a run of at least 10,000 steps.
        num_steps: Training steps of the run.
        deterministic: Whether the run repeats bit for bit, which XLA does not promise on GPUs.

    Raises:
        InputError: If it is "on" with several replicas, which Keras cannot do.
    """
    import tensorflow as tf

    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if choice == "on" and replicas > 1:
        raise InputError(
            f"XLA compiles the steps of one device alone. Received: --xla=on with {replicas} "
            "replicas. Expected --xla=auto or --xla=off, or one device by --strategy=one."
        )
    if choice != "auto":
        return choice == "on"
    if replicas > 1 or deterministic or num_steps < _STEPS_WORTH_COMPILING:
        return False
    capability = _capability_of_first_gpu()
    return capability is not None and _OLDEST <= capability < _TOO_NEW


def library_versions() -> dict[str, str]:
    """Installed versions by name of the import, read without importing anything."""
    # The distribution has another name than the import: faiss-cpu or faiss-gpu for faiss.
    distributions = importlib.metadata.packages_distributions()
    return {
        name: importlib.metadata.version(distributions[name][0])
        if name in distributions
        else "unknown"
        for name in _LIBRARIES
    }
