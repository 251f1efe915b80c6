"""The published network in TensorFlow and in PyTorch, to train and to extract features with.

Both take steps on one batch that lies in memory: ours on uint8 pixels, which it normalises itself,
PyTorch's on pixels that its loader would have normalised. "NCHW" is PyTorch's own layout, which the
public code uses; it is always in float32, as there. "channels_last" is the one that PyTorch
recommends on CPUs, and in the precision that ours is in. Each has a process of its own, as it would
have in use: in one process, memory that PyTorch gives back to the system slows TensorFlow down.
Libraries are loaded where a contender is made, so that each process loads its own alone.
"""

import argparse
import contextlib
import functools
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from benchmarks.interleaved import precisions, rates
from benchmarks.rows import Subject, report_speed
from dc_keras.machine import precision_of_layers
from dc_keras.process import prepare_process

CLUSTERS = 1000
UNITS = 4096
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 1e-5
NCHW, CHANNELS_LAST, ROOF = "PyTorch NCHW", "PyTorch channels_last", "convolution roof"
# Bytes of the activations that a measurement may hold stay below 3 GB.
BATCHES = {32: 128, 64: 64, 224: 8}
QUICK_BATCH = 4
# Iterators are made once for all images of a pass, so the time for that is shared as well.
BATCHES_A_PASS = 4


def compare(
    options: argparse.Namespace, stage: str, goals: dict[str, float], *, train: bool
) -> None:
    """Compares the networks at all image sizes and prints a row for each contender.

    Args:
        options: What `arguments` returned.
        stage: Such as "train step".
        goals: Ratio to reach against `NCHW`, `CHANNELS_LAST` and `ROOF`.
        train: Whether to train or to extract features.
    """
    for side, batch in {32: QUICK_BATCH}.items() if options.quick else BATCHES.items():
        for precision in precisions():
            with in_processes(_contenders(side, batch, precision, train)) as contenders:
                measured = rates(contenders, options.turns, seconds=0.0 if options.quick else 2.0)
            setting = f"VGG16-BN, {side} px, batch of {batch}, {precision}"
            subject = Subject(stage, setting, ["tensorflow", "keras", "torch"])
            report_speed(options, subject, measured, "images/s", goals=goals)


def _contenders(side: int, batch: int, precision: str, train: bool) -> dict[str, tuple]:
    layouts = {NCHW: ("contiguous_format", "float32"), CHANNELS_LAST: ("channels_last", precision)}
    return {
        "ours": (ours, side, batch, precision, train),
        **{
            name: (theirs, side, batch, layout, kind, train)
            for name, (layout, kind) in layouts.items()
        },
        ROOF: (roof, side, batch, precision, train),
    }


@contextlib.contextmanager
def in_processes(wanted: Mapping[str, tuple]) -> Iterator[dict[str, Callable[[], float]]]:
    """The contenders, each of which works in a process of its own and waits while others do.

    Args:
        wanted: By name the function that makes each, and its arguments.
    """
    with contextlib.ExitStack() as stack:
        contenders, first = {}, []
        for name, made_by in wanted.items():
            fresh = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(1, mp_context=fresh)
            stack.enter_context(pool)
            ask = functools.partial(pool.submit, _work_once, *made_by)
            contenders[name] = lambda ask=ask: ask().result()
            first.append(ask())
        # Caches, threads and graphs are made the first time, which all do at once.
        for answer in first:
            answer.result()
        yield contenders


def _work_once(*made_by) -> float:
    return _contender(*made_by)()


@functools.cache
def _contender(make: Callable, *arguments) -> Callable[[], float]:
    """What `make` makes, which a process does once."""
    return make(*arguments)


def batch_of(side: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images, uint8 `(batch, side, side, 3)`, and labels, int32 `(batch,)`."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    return images, rng.integers(0, CLUSTERS, batch).astype(np.int32)


def ours(side: int, batch: int, precision: str, train: bool) -> Callable[[], int]:
    """A step of this project's own."""
    prepare_process()
    import tensorflow as tf

    from dc_keras.data.pipelines import unchanged
    from dc_keras.models.coupled_sgd import CoupledSGD
    from dc_keras.models.deepcluster import DeepCluster
    from dc_keras.models.feature_extractor import FEATURES, FeatureExtractor, feature_model
    from dc_keras.models.options import NetworkOptions
    from dc_keras.models.vgg import build_vgg16

    images, labels = batch_of(side, batch)
    with precision_of_layers(precision):
        network = build_vgg16(NetworkOptions(side), CLUSTERS)
        model = DeepCluster(network.input, network.output)
    model.compile(
        CoupledSGD(LEARNING_RATE, MOMENTUM, WEIGHT_DECAY),
        CoupledSGD(LEARNING_RATE, 0.0, WEIGHT_DECAY, name="head_sgd"),
    )
    data = tf.constant(images), tf.constant(labels)
    step = tf.function(model.train_step)
    extract = FeatureExtractor(feature_model(model, FEATURES))
    batches = unchanged(tf.data.Dataset.from_tensors(data[0]).repeat(BATCHES_A_PASS))

    def work():
        if train:
            step(data)["loss"].numpy()
            return len(images)
        return sum(len(features) for features in extract(batches))

    return work


def theirs(side: int, batch: int, layout: str, precision: str, train: bool) -> Callable[[], int]:
    """A step of the same network in PyTorch, its 16-bit types by its own `autocast`."""
    import torch

    from benchmarks.pillow_loader import normalized
    from benchmarks.torch_vgg import Vgg16

    images, labels = batch_of(side, batch)
    layout = getattr(torch, layout)
    network = Vgg16(side, CLUSTERS).to(memory_format=layout)
    pixels = torch.stack([normalized(image) for image in images]).contiguous(memory_format=layout)
    targets = torch.from_numpy(labels).long()
    optimizers = network.optimizers()
    network.train(train)

    def work():
        with torch.autocast("cpu", torch.bfloat16, enabled=precision != "float32"):
            if train:
                loss = torch.nn.functional.cross_entropy(network(pixels).float(), targets)
            else:
                with torch.no_grad():
                    network.fc7(pixels).float().numpy()
        if train:
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            loss.item()
        return len(images)

    return work


def roof(side: int, batch: int, precision: str, train: bool) -> Callable[[], float]:
    """One convolution alone, whose work is counted in images of the whole network.

    Of the network's convolutions it is the one with 256 channels, among those that reach the
    highest rate: what the network would reach, were everything in it so fast and all else free.
    """
    prepare_process()
    import tensorflow as tf

    size = side // 4
    dtype = tf.float32 if precision == "float32" else tf.bfloat16
    inputs = tf.cast(tf.random.normal([batch, size, size, 256]), dtype)
    filters = tf.cast(tf.random.normal([3, 3, 256, 256]), dtype)
    convolve = tf.function(lambda: tf.nn.conv2d(inputs, filters, 1, "SAME"))
    repetitions = 8
    done = repetitions * batch * convolution_flops(size, 256, 256)
    needed = training_flops(side) if train else forward_flops(side)

    def work():
        for _ in range(repetitions):
            convolve()
        return done / needed

    return work


def convolution_flops(size: int, inputs: int, outputs: int) -> int:
    """Floating-point operations of a 3x3 convolution of one image, its borders counted in full."""
    return 2 * 9 * inputs * outputs * size**2


def forward_flops(side: int) -> int:
    """Operations of one image up to fc7: convolutions and fully connected layers."""
    from dc_keras.models.vgg import BLOCKS

    total, inputs, size = 0, 2, side
    for block in BLOCKS:
        for outputs in block:
            total += convolution_flops(size, inputs, outputs)
            inputs = outputs
        size //= 2
    return total + 2 * UNITS * (inputs * size**2 + UNITS)


def training_flops(side: int) -> int:
    """Operations of one image in a training step.

    Each layer is computed forward and for the gradients of its weights and of its input; the first
    convolution's input needs none.
    """
    from dc_keras.models.vgg import BLOCKS

    both = forward_flops(side) + 2 * UNITS * CLUSTERS
    return 3 * both - convolution_flops(side, 2, BLOCKS[0][0])
