"""Checks the program on this machine's GPU, and measures it there.

    python tools/gpu_check.py --out=FOLDER [--photos=FOLDER] [--pytorch=PYTHON]

Each part is a process of its own. After each, FOLDER has the rows of all parts so far as
results.json, gpu.csv and report.md. No part begins that could outlast --minutes; the command, given
again, goes on with the parts that are missing. A part that fails or takes too long is a row that
says so, and ends nothing else. Without a GPU give --quick: sizes are tiny then, which shows that
the check itself works.

    devices     cards, versions, what a large matrix product reaches
    bfloat16    and tf32, float16, float32: training steps and extraction of VGG16-BN at 224 px with
                10,000 clusters (the ImageNet setting, with its memory)
    xla         and xla_tf32: the same, compiled by XLA
    pytorch     and pytorch_compiled: the same network in PyTorch, of the Python of --pytorch
    kmeans      k-means at the size of ImageNet, and a smaller one; kmeans_cpu: that again, and PCA
    pipeline    what reading and augmenting delivers of files and arrays, and training takes of it
    parity      features of the GPU beside those of the CPU
    run         a small run of train.py and its evaluation
    resume      a run that is taken up, beside one that was not: equal bit by bit
    mirrored    a run on two virtual devices
    workers     a run of two processes that work together, on one card or a card each
"""

import argparse
import contextlib
import csv
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
COLUMNS = ("part", "what", "setting", "figure", "unit", "note", "machine", "versions", "date")
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 1e-5
# Names of precisions: Keras's policy, PyTorch's type, whether float32 products may round to TF32.
PRECISIONS = {
    "float32": ("float32", None, False),
    "tf32": ("float32", None, True),
    "bfloat16": ("mixed_bfloat16", "bfloat16", True),
    "float16": ("mixed_float16", "float16", True),
}
IMAGENET = 1_281_167


@dataclasses.dataclass(frozen=True)
class Size:
    """How large things are that are measured.

    Attributes:
        side: Of the images in pixels.
        width: Of the network.
        clusters: Outputs of the head, and of k-means.
        batches: Images in a step.
        points: Rows that are clustered, and of which so many on CPUs as well.
        dim: Their dimensions.
        pca: Rows and columns that PCA is fitted to.
        matrix: Side of the matrices whose product tells what the card reaches.
        fed: Images of an epoch that is trained from the pipeline.
        seconds: That a rate is measured for.
    """

    side: int = 224
    width: float = 1.0
    clusters: int = 10_000
    batches: tuple[int, ...] = (64, 128, 256, 512)
    points: tuple[int, int] = (IMAGENET, 100_000)
    dim: int = 256
    pca: tuple[int, int] = (32_768, 4096)
    matrix: int = 8192
    fed: int = 256 * 30
    seconds: float = 1.0

    @property
    def usual_batch(self) -> int:
        """That of the published setting, or the largest."""
        return 256 if 256 in self.batches else self.batches[-1]


LARGE = Size()
TINY = Size(32, 1 / 16, 20, (8,), (600, 300), 16, (100, 64), 256, 64, 0.0)


@dataclasses.dataclass(frozen=True)
class Row:
    """A figure, or what kept it from being measured.

    Attributes:
        what: Such as "training step".
        setting: Such as "bfloat16, batch of 256".
        figure: The number; None if there is none.
        unit: Such as "images/s".
        note: What else was found.
    """

    what: str
    setting: str = ""
    figure: float | None = None
    unit: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Task:
    """What a part works with.

    Attributes:
        size: How large things are.
        photos: Folder of photographs, or "" for some that are made up.
        scratch: An empty folder.
    """

    size: Size
    photos: str
    scratch: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the check.

    Attributes:
        work: Measures, a row at a time.
        seconds: After which it is ended.
        environment: Variables of its process.
        in_pytorch: Whether it runs in the Python that --pytorch names.
    """

    work: Callable[[Task], Iterator[Row]]
    seconds: float = 90.0
    environment: tuple[tuple[str, str], ...] = ()
    in_pytorch: bool = False


# Measuring


def rate(work: Callable[[], float], seconds: float) -> float:
    """Items a second, the median over turns, after two that do not count.

    Args:
        work: Does a turn's work to its end and returns how many items it was.
        seconds: Turns are taken until so many have passed, at least three.
    """
    for _ in range(2):
        work()
    found: list[float] = []
    began = time.perf_counter()
    while len(found) < 3 or time.perf_counter() - began < seconds:
        started = time.perf_counter()
        items = work()
        found.append(items / (time.perf_counter() - started))
    return float(np.median(found))


def has_gpu() -> bool:
    """Whether TensorFlow sees one; prepares the process for it."""
    from dc_keras.process import prepare_process

    prepare_process()
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


@contextlib.contextmanager
def in_precision(name: str) -> Iterator[None]:
    """Has layers that are made in this context compute so, and products round as it allows."""
    import tensorflow as tf

    from dc_keras.machine import precision_of_layers

    policy, _, rounds = PRECISIONS[name]
    tf.config.experimental.enable_tensor_float_32_execution(rounds)
    with precision_of_layers(policy):
        yield


def trainer(size: Size, *, xla: bool = False):
    """The published network with its optimizers."""
    from dc_keras.models.coupled_sgd import CoupledSGD
    from dc_keras.models.deepcluster import DeepCluster
    from dc_keras.models.options import NetworkOptions
    from dc_keras.models.vgg import build_vgg16

    network = build_vgg16(NetworkOptions(size.side, width=size.width), size.clusters)
    model = DeepCluster(network.input, network.output)
    model.compile(
        CoupledSGD(LEARNING_RATE, MOMENTUM, WEIGHT_DECAY),
        CoupledSGD(LEARNING_RATE, 0.0, WEIGHT_DECAY, name="head_sgd"),
        xla=xla,
    )
    return model


def batch_of(size: Size, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images, uint8 `(batch, side, side, 3)`, and labels, int32 `(batch,)`."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, size.side, size.side, 3), dtype=np.uint8)
    return images, rng.integers(0, size.clusters, batch).astype(np.int32)


class PeakMemory:
    """The most memory that TensorFlow has held on the card since this was made; ends a note."""

    def __init__(self):
        import tensorflow as tf

        self._config = tf.config
        if self._config.list_physical_devices("GPU"):
            self._config.experimental.reset_memory_stats("GPU:0")

    def __str__(self):
        if not self._config.list_physical_devices("GPU"):
            return ""
        peak = self._config.experimental.get_memory_info("GPU:0")["peak"]
        return f", {peak / 2**30:.1f} GiB at most"


def training_rate(step: Callable, batch: tuple, seconds: float) -> float:
    """Images a second of training steps on one batch, which lies on the card."""
    import tensorflow as tf

    data = tuple(tf.constant(part) for part in batch)

    def work():
        # Only the last step is waited for, as in an epoch.
        for _ in range(4):
            metrics = step(data)
        metrics["loss"].numpy()
        return 4 * len(batch[0])

    return rate(work, seconds)


# The parts


def devices(task: Task) -> Iterator[Row]:
    """Cards, versions, and what a matrix product reaches in each precision."""
    on_gpu = has_gpu()
    import faiss
    import tensorflow as tf

    yield Row("cards of TensorFlow", "", len(tf.config.list_physical_devices("GPU")))
    yield Row("cards of Faiss", "", faiss.get_num_gpus())
    yield Row("cores", "", os.cpu_count())
    side = task.size.matrix
    for name, (_, dtype, rounds) in PRECISIONS.items():
        tf.config.experimental.enable_tensor_float_32_execution(rounds)
        values = tf.cast(tf.random.normal([side, side]), dtype or "float32")

        @tf.function
        def product(values=values):
            return tf.matmul(values, values)

        def work(product=product):
            for _ in range(8 if on_gpu else 1):
                last = product()
            float(tf.cast(last[0, 0], tf.float32))
            return (8 if on_gpu else 1) * 2 * side**3 / 1e12

        yield Row("matrix product", f"{name}, {side:,}", rate(work, task.size.seconds), "TFLOP/s")


def steps(precision: str, *, xla: bool = False) -> Callable[[Task], Iterator[Row]]:
    """Training steps and extraction in a precision, perhaps compiled by XLA."""

    def work(task: Task) -> Iterator[Row]:
        has_gpu()
        import tensorflow as tf

        from dc_keras.models.feature_extractor import FEATURES, feature_model

        usual, end = task.size.usual_batch, ", XLA" if xla else ""
        with in_precision(precision):
            model = trainer(task.size)
        step = tf.function(model.train_step, jit_compile=xla)
        network = feature_model(model, FEATURES)
        extract = tf.function(lambda images: network(images, training=False), jit_compile=xla)
        others = [] if xla or precision != "bfloat16" else sorted(set(task.size.batches) - {usual})
        for batch in [usual, *others]:
            data = batch_of(task.size, batch)
            setting = f"{precision}, batch of {batch}"
            try:
                peak = PeakMemory()
                started = time.perf_counter()
                step(tuple(map(tf.constant, data)))["loss"].numpy()
                first = f"first step {time.perf_counter() - started:.0f} s"
                found = training_rate(step, data, task.size.seconds)
                yield Row(f"training step{end}", setting, found, "images/s", f"{first}{peak}")
            except tf.errors.ResourceExhaustedError:
                yield Row(f"training step{end}", setting, note="more memory than the card has")
        images, _ = batch_of(task.size, usual)

        def work():
            # As in clustering, images come from the host and features go back to it.
            return sum(len(extract(tf.constant(images)).numpy()) for _ in range(8))

        peak = PeakMemory()
        found = rate(work, task.size.seconds)
        setting = f"{precision}, batch of {usual}"
        yield Row(f"extraction{end}", setting, found, "images/s", f"{peak}".lstrip(", "))

    return work


def pytorch(*precisions: str, compiled: bool) -> Callable[[Task], Iterator[Row]]:
    """The same network in PyTorch, channels last, in several precisions."""

    def work(task: Task) -> Iterator[Row]:
        import torch

        torch.backends.cudnn.benchmark = True
        # Compiling for a CPU takes minutes and tells nothing.
        if compiled and not torch.cuda.is_available():
            yield Row("training step, PyTorch", "compiled", note="left out: no GPU")
            return
        for precision in precisions:
            rounds = PRECISIONS[precision][2]
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = rounds
            yield from _pytorch_rows(torch, task.size, precision, compiled)

    return work


def _pytorch_rows(torch, size: Size, precision: str, compiled: bool) -> Iterator[Row]:
    from benchmarks.torch_vgg import Vgg16

    batch, autocast = size.usual_batch, PRECISIONS[precision][1]
    kind = "PyTorch, compiled" if compiled else "PyTorch"
    setting, version = f"{precision}, batch of {batch}", f"torch {torch.__version__}"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = Vgg16(size.side, size.clusters, size.width).to(device)
    network = network.to(memory_format=torch.channels_last)
    raw, labels = batch_of(size, batch)
    images = torch.from_numpy(raw).to(device).permute(0, 3, 1, 2)
    labels = torch.from_numpy(labels).long().to(device)
    optimizers = network.optimizers()
    scaler = torch.amp.GradScaler(device, enabled=autocast == "float16" and device == "cuda")
    call = torch.compile(network) if compiled else network
    fc7 = torch.compile(network.fc7) if compiled else network.fc7

    def pixels():
        # As ours does, on the card.
        return ((images.float() - 117.0) / 58.0).contiguous(memory_format=torch.channels_last)

    def mixed():
        dtype = getattr(torch, autocast or "bfloat16")
        return torch.autocast(device, dtype, enabled=autocast is not None)

    def train():
        for _ in range(4):
            for optimizer in optimizers:
                optimizer.zero_grad()
            with mixed():
                loss = torch.nn.functional.cross_entropy(call(pixels()).float(), labels)
            scaler.scale(loss).backward()
            for optimizer in optimizers:
                scaler.step(optimizer)
            scaler.update()
        loss.item()
        return 4 * batch

    def extract():
        with torch.no_grad(), mixed():
            for _ in range(8):
                fc7(pixels()).float().cpu()
        return 8 * batch

    network.train()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    found = rate(train, size.seconds)
    note = version
    if device == "cuda":
        note += f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB at most"
    yield Row(f"training step, {kind}", setting, found, "images/s", note)
    network.eval()
    found = rate(extract, size.seconds)
    yield Row(f"extraction, {kind}", setting, found, "images/s", version)


def clustering(on: str) -> Callable[[Task], Iterator[Row]]:
    """K-means on "GPU" or "CPU"."""

    def work(task: Task) -> Iterator[Row]:
        from dc_keras.process import load_libraries_quietly

        load_libraries_quietly()
        from dc_keras.clustering.centroids import kmeans_devices
        from dc_keras.clustering.kmeans import KMeansOptions, kmeans
        from dc_keras.clustering.whitening import fit_whitening

        size = task.size
        rng = np.random.default_rng(0)
        all_points = size.points if on == "GPU" else size.points[1:]
        for points in all_points:
            rows = rng.standard_normal((points, size.dim), dtype=np.float32)
            rows += 0.5 * rows[rng.integers(0, size.clusters, points)]
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            if on == "GPU":
                # Faiss takes its memory at the first call.
                kmeans(rows[:1000], 10, KMeansOptions(iterations=1), seed=0)
            started = time.perf_counter()
            found = kmeans(rows, size.clusters, KMeansOptions(iterations=20), seed=1)
            yield Row(
                f"k-means, 20 iterations, on {kmeans_devices()}",
                f"n = {points:,}, {size.dim} dimensions, k = {size.clusters:,}",
                time.perf_counter() - started,
                "s",
                f"objective {found.objectives[-1]:.6f}",
            )
        if on == "CPU":
            rows = rng.standard_normal(size.pca, dtype=np.float32)
            started = time.perf_counter()
            fit_whitening(rows, min(256, size.dim))
            taken_by_pca = time.perf_counter() - started
            yield Row("PCA, on the CPU", "{:,} x {:,}".format(*size.pca), taken_by_pca, "s")

    return work


def pipeline(task: Task) -> Iterator[Row]:
    """What reading and augmenting delivers of files and of decoded images, and training takes."""
    has_gpu()
    from dc_keras.data.sources.arrays import ArraySource
    from dc_keras.data.sources.open import open_source

    with in_precision("bfloat16"):
        model = trainer(task.size, xla=task.size is not TINY)
    folder = task.photos or str(_made_up_photographs(task))
    yield from _pipeline_rows(task, "photographs as JPEG", open_source(folder), model)
    held = np.random.default_rng(0).integers(0, 256, (500, 256, 256, 3), dtype=np.uint8)
    decoded = ArraySource(held, [str(row) for row in range(len(held))])
    yield from _pipeline_rows(task, "arrays of 256 px", decoded, model)


def _pipeline_rows(task: Task, name: str, source, model) -> Iterator[Row]:
    """What comes of some images, and what training takes of it."""
    import keras

    from dc_keras.data.batches.listed import NaturalSampler
    from dc_keras.data.batches.training import TrainingBatches
    from dc_keras.data.pixels.augmentation import Augmentation

    size = task.size
    steps = size.fed // size.usual_batch
    for colours in (0.0, 1.0):
        sampler = NaturalSampler(len(source), size.fed)
        sampler.set_labels(np.zeros(len(source), np.int32))
        sampler.begin_epoch(0, 0)
        augmentation = Augmentation(size.side, color_jitter=colours, grayscale=0.2 * colours)
        dataset = TrainingBatches(
            source, sampler, augmentation, steps=steps, batch_size=size.usual_batch
        ).dataset()
        setting = name + (", colours changed" if colours else "")

        def read(dataset=dataset):
            return sum(len(images) for images, *_ in dataset)

        found = rate(read, 0.0)
        yield Row("pipeline alone", setting, found, "images/s", f"{os.cpu_count()} cores")

        ends: list[float] = []
        clock = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs, ends=ends: ends.append(time.perf_counter())
        )
        model.fit(dataset, epochs=3, shuffle=False, verbose=0, callbacks=[clock])
        fed = steps * size.usual_batch / (ends[2] - ends[1])
        how = "bfloat16, XLA" if model.jit_compile else "bfloat16"
        yield Row("training from the pipeline", f"{setting}, {how}", fed, "images/s")


def _made_up_photographs(task: Task) -> pathlib.Path:
    """JPEG files of 500 x 375 pixels that weigh about as much as photographs."""
    import tensorflow as tf

    folder = task.scratch / "photographs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(100):
        coarse = rng.uniform(0, 255, (40, 54, 3))
        image = tf.image.resize(coarse, (375, 500), "bicubic") + rng.normal(0, 8, (375, 500, 3))
        pixels = tf.cast(tf.clip_by_value(image, 0, 255), tf.uint8)
        (folder / f"{number}.jpg").write_bytes(tf.io.encode_jpeg(pixels, quality=90).numpy())
    return folder


def parity(task: Task) -> Iterator[Row]:
    """How far features of the GPU are from those of the CPU in float32."""
    has_gpu()
    import tensorflow as tf

    from dc_keras.models.feature_extractor import FEATURES, feature_model

    images, labels = batch_of(task.size, 8)
    wanted = None
    for precision in PRECISIONS:
        with in_precision(precision):
            model = trainer(task.size)
            model.fit(images, labels, batch_size=8, verbose=0) if wanted is None else None
        if wanted is None:
            weights = model.get_weights()
            with tf.device("/CPU:0"):
                wanted = tf.function(feature_model(model, FEATURES))(images).numpy()
        model.set_weights(weights)
        found = tf.function(feature_model(model, FEATURES))(images)
        error = float(np.linalg.norm(np.float32(found) - wanted) / np.linalg.norm(wanted))
        note = "goal: 0.001" if precision == "float32" else ""
        yield Row("features beside the CPU's", precision, error, "relative error", note)


def _program(arguments: Sequence[str], seconds: float = 300.0) -> float:
    """Runs a program of the repository to its end; returns how many seconds it took.

    Raises:
        RuntimeError: If it fails, with the end of what it printed.
    """
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{arguments[0]} failed: {(done.stdout + done.stderr)[-1500:]}")
    return time.perf_counter() - started


def _small_run(task: Task, name: str, **flags) -> tuple[pathlib.Path, float]:
    """Trains on digits; returns the run and how long it took."""
    run = task.scratch / name
    return run, _program(["train.py", *_small_flags(task, run, **flags)])


def _small_flags(task: Task, run: pathlib.Path, **flags) -> list[str]:
    settings = {"width": 1 / 16 if task.size is TINY else 0.25, "epochs": 2, **flags}
    given = [f"--{flag}={value}" for flag, value in settings.items()]
    return ["--flagfile=configs/quickstart.cfg", f"--run_dir={run}", *given]


def _last_epoch(run: pathlib.Path) -> dict:
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


def small_run(task: Task) -> Iterator[Row]:
    """A run of train.py as the README's first command has it, and its evaluation."""
    run, seconds = _small_run(task, "run", epochs=2 if task.size is TINY else 6)
    last = _last_epoch(run)
    nmi = f"NMI with the labels {last['cluster']['nmi_labels']:.3f}"
    yield Row("train.py", f"digits, {last['epoch']} epochs", seconds, "s", nmi)
    yield Row("train.py", "digits, last epoch", last["images_per_second"], "images/s")
    yield Row("evaluate.py", "digits", _program(["evaluate.py", f"--run_dir={run}"]), "s")


def resume(task: Task) -> Iterator[Row]:
    """Whether a run that was taken up ends with the same weights and clusters."""
    flags = {"deterministic": "true", "keep_checkpoints": 1}
    whole, _ = _small_run(task, "whole", epochs=2, **flags)
    _small_run(task, "parts", epochs=1, **flags)
    parts, _ = _small_run(task, "parts", epochs=2, **flags)
    from dc_keras.models.saved_network import load_network

    has_gpu()
    networks = [load_network(run / "model" / "network.keras") for run in (whole, parts)]
    one, other = (network.get_weights() for network in networks)
    apart = max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))
    tables = [(run / "model" / "clusters.csv").read_text() for run in (whole, parts)]
    equal = "equal" if tables[0] == tables[1] else "not equal"
    yield Row("a run that was taken up", "weights", apart, "apart", f"clusters are {equal}")


def mirrored(task: Task) -> Iterator[Row]:
    """A run on two virtual devices, of the GPU where there is one."""
    run, _ = _small_run(task, "mirrored", strategy="mirrored", virtual_devices=2)
    last = _last_epoch(run)
    note = f"loss {last['loss']:.3f}"
    yield Row("two virtual devices", "digits", last["images_per_second"], "images/s", note)


# NCCL refuses two workers on one card, TensorFlow's own ring of messages does not.
_WORKER = """
import runpy
from dc_keras.process import prepare_process
prepare_process()
import tensorflow as tf
if {ring}:
    of = tf.distribute.experimental
    ring = of.CommunicationOptions(implementation=of.CommunicationImplementation.RING)
    class Ring(tf.distribute.MultiWorkerMirroredStrategy):
        def __init__(self):
            super().__init__(communication_options=ring)
    tf.distribute.MultiWorkerMirroredStrategy = Ring
runpy.run_path("train.py", run_name="__main__")
"""


def workers(task: Task) -> Iterator[Row]:
    """A run of two workers on this machine, a card each or both on one, beside two replicas."""
    from benchmarks.workers import free_addresses, tf_config

    cards = _number_of_cards()
    run = task.scratch / "workers"
    # Steps so short that rounding stays small, of heads that start with the same bits.
    alike = {"epochs": 1, "dropout": 0, "learning_rate": 0.001, "head_start": "redrawn"}
    flags = _small_flags(task, run, strategy="multi_worker", **alike)
    addresses = free_addresses(2)
    started = []
    for rank in range(2):
        own = {"CUDA_VISIBLE_DEVICES": str(rank)} if cards > 1 else {}
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", _WORKER.format(ring=cards == 1), *flags],
                cwd=REPOSITORY,
                env={**os.environ, "TF_CONFIG": tf_config(addresses, rank), **own},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    told = [process.communicate(timeout=150)[0] for process in started]
    for process, text in zip(started, told, strict=True):
        if process.returncode:
            raise RuntimeError(f"a worker failed: {text[-1500:]}")
    how = "a card each" if cards > 1 else "one card" if cards else "no card"
    found = _last_epoch(run)
    yield Row("two workers", f"digits, {how}", found["images_per_second"], "images/s")
    other, _ = _small_run(task, "replicas", strategy="mirrored", virtual_devices=2, **alike)
    apart = abs(found["loss"] / _last_epoch(other)["loss"] - 1)
    setting = "beside two replicas of one machine"
    yield Row("two workers", setting, apart, "of the loss apart", "goal: 0.001")


def _number_of_cards() -> int:
    """Cards that TensorFlow sees, asked for in another process: workers need all their memory."""
    asks = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"
    done = subprocess.run(
        [sys.executable, "-c", asks], capture_output=True, text=True, timeout=60, check=True
    )
    return int(done.stdout.split()[-1])


HIDDEN = (("CUDA_VISIBLE_DEVICES", "-1"),)
# What has not been measured on any GPU yet comes before what is known of one.
PARTS = {
    "resume": Part(resume, 150.0),
    "workers": Part(workers, 180.0),
    "devices": Part(devices),
    "bfloat16": Part(steps("bfloat16")),
    "xla": Part(steps("bfloat16", xla=True), 120.0),
    "pipeline": Part(pipeline, 180.0),
    "kmeans_cpu": Part(clustering("CPU"), environment=HIDDEN),
    "kmeans": Part(clustering("GPU")),
    "tf32": Part(steps("tf32")),
    "xla_tf32": Part(steps("tf32", xla=True), 120.0),
    "float16": Part(steps("float16")),
    "float32": Part(steps("float32"), 120.0),
    "pytorch": Part(pytorch("bfloat16", "tf32", "float16", compiled=False), in_pytorch=True),
    "pytorch_compiled": Part(pytorch("bfloat16", "tf32", compiled=True), 150.0, in_pytorch=True),
    "run": Part(small_run, 150.0),
    "parity": Part(parity),
    "mirrored": Part(mirrored),
}


# Running parts, and what is written


def run_part(name: str, task: Task, out: pathlib.Path) -> None:
    """Does a part in this process; rows are written as they come."""
    rows: list[dict] = []
    for row in PARTS[name].work(task):
        rows.append(dataclasses.asdict(row))
        write(out, json.dumps(rows))


def write(path: pathlib.Path, text: str) -> None:
    """Writes a file beside, and renames it."""
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(text)
    beside.replace(path)


def run_in_process(name: str, options: argparse.Namespace, folder: pathlib.Path) -> list[dict]:
    """Does a part in a process of its own; returns its rows, with one for a failure."""
    part = PARTS[name]
    out = folder / f"{name}.json"
    out.unlink(missing_ok=True)
    command = [options.pytorch if part.in_pytorch else sys.executable, __file__, f"--part={name}"]
    command += [f"--out={out}", *(["--quick"] if options.quick else [])]
    command += [f"--photos={options.photos}"] if options.photos else []
    environment = {**os.environ, **dict(part.environment), "PYTHONUNBUFFERED": "1"}
    if part.in_pytorch and options.pytorch != sys.executable:
        # The libraries of another Python are its own.
        environment.pop("LD_LIBRARY_PATH", None)
        environment.pop("PYTHONPATH", None)
    log = folder / f"{name}.log"
    started = time.perf_counter()
    with log.open("w") as output:
        try:
            process = subprocess.run(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                timeout=part.seconds,
                check=False,
            )
            failed = f"exit status {process.returncode}" if process.returncode else ""
        except (subprocess.TimeoutExpired, OSError) as error:
            failed = f"{error}"
    rows = json.loads(out.read_text()) if out.is_file() else []
    if failed:
        lines = log.read_text(errors="replace").strip().splitlines()
        last = lines[-1] if lines else ""
        rows.append(dataclasses.asdict(Row("failed", note=f"{failed}; {last}"[:300])))
    print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    for row in rows:
        print("   ", line_of(row), flush=True)
    out.unlink(missing_ok=True)
    return rows


def plain(figure: float) -> str:
    """A number with four significant digits, without powers of ten, as tables of docs/ take it."""
    return np.format_float_positional(figure, precision=4, unique=False, fractional=False, trim="-")


def line_of(row: dict) -> str:
    """A row for people."""
    cells = (row["what"], row["setting"], told(row), row["note"])
    return " | ".join(text for text in cells if text)


def told(row: dict) -> str:
    """A row's figure for people, or nothing."""
    return "" if row["figure"] is None else f"{row['figure']:.4g} {row['unit']}"


def report(results: dict[str, list[dict]], machine: str, versions: str) -> str:
    """The rows of all parts as Markdown."""
    lines = [f"{machine}; {versions}", "", "| part | what | setting | figure | note |"]
    lines.append("|---|---|---|---:|---|")
    for part, rows in results.items():
        for row in rows:
            figure = told(row) or "–"
            lines.append(
                f"| {part} | {row['what']} | {row['setting']} | {figure} | {row['note']} |"
            )
    return "\n".join(lines) + "\n"


def machine_in_words() -> tuple[str, str]:
    """The card or processor with its cores, and versions of libraries."""
    from dc_keras.machine import library_versions, processor

    name = processor()[0] or platform.machine()
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        found = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        cards = [line.strip() for line in found.stdout.splitlines() if line.strip()]
        if cards:
            card, driver = cards[0].split(", ")
            name = f"{len(cards)} x {card}, driver {driver}"
    versions = [f"{library} {version}" for library, version in library_versions().items()]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        versions.append(f"scipy {importlib.metadata.version('scipy')}")
    return f"{name}, {os.cpu_count()} cores", ", ".join(versions)


def save(folder: pathlib.Path, results: dict[str, list[dict]], machine: str, versions: str) -> None:
    """Writes all that is known so far."""
    write(folder / "results.json", json.dumps(results, indent=1))
    write(folder / "report.md", report(results, machine, versions))
    beside = folder / "gpu.csv.tmp"
    with beside.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        date = time.strftime("%Y-%m-%d")
        for part, rows in results.items():
            for row in rows:
                figure = "" if row["figure"] is None else plain(row["figure"])
                about = {"part": part, "machine": machine, "versions": versions, "date": date}
                table.writerow({**row, **about, "figure": figure})
    beside.replace(folder / "gpu.csv")


def main() -> int:
    """Does the parts that are missing; returns how many failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the results")
    parser.add_argument("--parts", default=",".join(PARTS), help="which of them, in this order")
    parser.add_argument("--photos", default="", help="folder of photographs to read")
    parser.add_argument("--pytorch", default=sys.executable, help="a Python that has PyTorch")
    parser.add_argument(
        "--minutes", type=float, default=6.0, help="no part begins that could outlast them"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it works")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(REPOSITORY))
    if options.part:
        with tempfile.TemporaryDirectory() as scratch:
            task = Task(TINY if options.quick else LARGE, options.photos, pathlib.Path(scratch))
            run_part(options.part, task, options.out)
        return 0
    began = time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    known = options.out / "results.json"
    results = json.loads(known.read_text()) if known.is_file() else {}
    where = machine_in_words()
    for name in options.parts.split(","):
        if name not in PARTS:
            parser.error(f"--parts knows {', '.join(PARTS)}; received {name}")
        if name in results and not any(row["what"] == "failed" for row in results[name]):
            continue
        left = 60 * options.minutes - (time.monotonic() - began)
        if left < PARTS[name].seconds:
            print(f"{name}: not begun, {left:.0f} s are left. Give the command again.", flush=True)
            continue
        results[name] = run_in_process(name, options, options.out)
        save(options.out, results, *where)
    return sum(row["what"] == "failed" for rows in results.values() for row in rows)


if __name__ == "__main__":
    sys.exit(main())
