"""Fine-tuning on VOC: a network is trained on with the labels, and tested on ten random squares.

Resumable: the state is written beside and renamed every so many steps, and what follows a resume is
what would have followed without the interruption.
"""

import dataclasses
import pathlib
import sys
import zipfile
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from dc_keras.data.sources.image_source import ImageSource
from dc_keras.errors import InputError
from dc_keras.evaluation.measured import key_of
from dc_keras.evaluation.voc.average_precision import DIFFICULT, PRESENT
from dc_keras.evaluation.voc.random_squares import Squares, random_squares
from dc_keras.evaluation.voc.tunable import ALL, Tunable
from dc_keras.evaluation.voc.voc_images import Labelled
from dc_keras.files import explain_write_errors, write_atomically
from dc_keras.models.coupled_sgd import CoupledSGD
from dc_keras.seeds import derive_seed, numpy_rng

# The published schedule: 80,000 steps, the rate halved every 5,000.
ITERATIONS = 80_000
_PHASES = 16
# A batch of squares that are tested, and nothing is learned from.
_TEST_BATCH = 64


@dataclasses.dataclass(frozen=True)
class TuningOptions:
    """How a network is fine-tuned; the defaults are those of the release.

    Attributes:
        parts: What is trained, `tunable.ALL` or `tunable.FC`.
        train_batch_norm: Whether scale and offset of batch norm are trained with `FC`, too. Its
            statistics never are.
        iterations: Steps. The rate is halved after each sixteenth of them.
        batch_size: Squares in a step.
        learning_rate: Of the first steps.
        momentum: Of SGD.
        weight_decay: Factor of the weights in their gradients.
        max_norm: Gradients of a larger norm, all together, are scaled down to it.
        crops: Random squares of each test image, whose logits are added.
        save_every: Steps between two states that are written.
    """

    parts: str = ALL
    train_batch_norm: bool = False
    iterations: int = ITERATIONS
    batch_size: int = 16
    learning_rate: float = 0.003
    momentum: float = 0.9
    weight_decay: float = 1e-6
    max_norm: float = 10.0
    crops: int = 10
    save_every: int = 1000


def learning_rate(step: int, options: TuningOptions) -> float:
    """The rate of a step, counted from 0.

    >>> [learning_rate(step, TuningOptions()) for step in (0, 4999, 5000, 79_999)]
    [0.003, 0.003, 0.0015, 9.1552734375e-08]
    """
    return options.learning_rate * 0.5 ** (_PHASES * step // options.iterations)


def masked_loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy, summed over classes and divided by the number of images.

    Args:
        logits: float32 `(n, classes)`.
        labels: Integers `(n, classes)`: 1 present, -1 absent, 0 difficult (adds nothing).

    >>> labels = tf.constant([[1, -1, 0]])
    >>> float(masked_loss(tf.zeros([1, 3]), labels))  # twice the logarithm of 2
    1.3862943649291992
    """
    present = tf.cast(labels == PRESENT, tf.float32)
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=present, logits=logits)
    known = tf.cast(labels != DIFFICULT, tf.float32)
    return tf.reduce_sum(losses * known) / tf.cast(tf.shape(logits)[0], tf.float32)


def drawn_images(num_images: int, first: int, last: int, seed: int) -> np.ndarray:
    """The images at positions `first` to `last - 1` of the training, int64 `(last - first,)`.

    Each pass is a permutation of its own, and batches are cut out of their sequence.
    """
    passes = range(first // num_images, -(-last // num_images))
    images = [numpy_rng(seed, "VOC pass", number).permutation(num_images) for number in passes]
    start = first - passes.start * num_images
    return np.concatenate([np.empty(0, np.int64), *images])[start : start + last - first]


def tune(
    tunable: Tunable,
    train: Labelled,
    options: TuningOptions,
    *,
    seed: int,
    state_file: pathlib.Path | None = None,
) -> np.ndarray:
    """Trains a network, or goes on with it.

    Args:
        tunable: As `make_tunable` made it.
        train: Images and labels.
        options: How it is trained.
        seed: Draws images and squares.
        state_file: Where the state is kept, `.npz`; its folder is made. None to keep none.

    Returns:
        The loss of each step, float32 `(iterations,)`.

    Raises:
        InputError: If the state belongs to something else, or losses are no numbers.
        CannotWriteError: If the state cannot be written.
    """
    optimizer = CoupledSGD(
        options.learning_rate,
        options.momentum,
        options.weight_decay,
        global_clipnorm=options.max_norm,
    )
    optimizer.build(tunable.trained)
    variables = [*tunable.state(), *optimizer.variables]
    kept = _KeptState(state_file, _key(tunable, train, options, seed))
    losses = kept.restore(variables)
    if len(losses) == options.iterations:
        return losses
    step_function = _compiled(tunable, optimizer)
    bar = tqdm(
        total=options.iterations,
        initial=len(losses),
        desc=f"VOC fine-tuning ({options.parts})",
        disable=not sys.stderr.isatty(),
        leave=False,
    )
    with bar:
        while len(losses) < options.iterations:
            last = min(len(losses) + options.save_every, options.iterations)
            new = []
            for step, batch in _batches(tunable, train, options, seed, (len(losses), last)):
                optimizer.learning_rate.assign(learning_rate(step, options))
                new.append(step_function(*batch))
                bar.update()
            losses = np.concatenate([losses, [float(loss) for loss in new]]).astype(np.float32)
            if not np.isfinite(losses).all():
                raise InputError(
                    "The fine-tuning came apart: the loss is no number any more. Received: a "
                    f"learning rate of {options.learning_rate:g}, by step {len(losses):,}. "
                    "Expected features of a usual scale: check the weights, or take the SVMs alone."
                )
            kept.keep(variables, losses)
    return losses


def random_square_scores(
    tunable: Tunable, images: ImageSource, *, crops: int, seed: int
) -> np.ndarray:
    """Sums of the logits over random squares of each image, float32 `(m, classes)`.

    Args:
        tunable: The trained network.
        images: m images.
        crops: Squares of each.
        seed: Draws them: the same ones for every network.
    """
    squares = Squares(_side(tunable), derive_seed(seed, "VOC test squares"))
    indices = np.repeat(np.arange(len(images)), crops)
    batches = random_squares(images, indices, squares, batch_size=_TEST_BATCH)
    shape = tunable.body.input_shape
    forward = tf.function(
        tunable.logits,
        input_signature=[tf.TensorSpec(shape, tf.uint8)],
        autograph=False,
    )
    logits = []
    with tqdm(
        total=len(indices), desc="VOC test", disable=not sys.stderr.isatty(), leave=False
    ) as bar:
        for batch in batches:
            logits.append(forward(batch).numpy())
            bar.update(len(batch))
    return np.concatenate(logits).reshape(len(images), crops, -1).sum(axis=1)


def _side(tunable: Tunable) -> int:
    return tunable.body.input_shape[1]


def _batches(
    tunable: Tunable,
    train: Labelled,
    options: TuningOptions,
    seed: int,
    steps: tuple[int, int],
):
    """Yields each step's number, and its squares and labels."""
    first, last = (step * options.batch_size for step in steps)
    indices = drawn_images(len(train.images), first, last, seed)
    squares = Squares(_side(tunable), derive_seed(seed, "VOC squares"))
    batches = random_squares(
        train.images, indices, squares, batch_size=options.batch_size, first=first
    )
    labels = train.labels[indices].reshape(-1, options.batch_size, train.labels.shape[1])
    for number, images in enumerate(batches):
        yield steps[0] + number, (images, tf.constant(labels[number]))


def _compiled(tunable: Tunable, optimizer: CoupledSGD) -> Callable:
    """A step: from images and labels to the loss before it."""

    def step(images, labels):
        with tf.GradientTape() as tape:
            loss = masked_loss(tunable.logits(images, training=True), labels)
        variables = [one.value for one in tunable.trained]
        optimizer.apply(tape.gradient(loss, variables), tunable.trained)
        return loss

    return tf.function(step, autograph=False)


def _key(tunable: Tunable, train: Labelled, options: TuningOptions, seed: int) -> str:
    """A checksum of all that the training follows from, but where its states are written."""
    told = dataclasses.asdict(options)
    del told["save_every"], told["crops"]
    weights = [*tunable.body.get_weights(), *tunable.top.get_weights()]
    return key_of(
        options=told,
        seed=seed,
        images=train.images.names,
        labels=train.labels,
        **{f"weight {number}": weight for number, weight in enumerate(weights)},
    )


class _KeptState:
    """Keeps variables and losses in a file, if there is one to keep them in."""

    def __init__(self, file: pathlib.Path | None, key: str):
        self._file = file
        self._key = key

    def restore(self, variables: list) -> np.ndarray:
        """Sets the variables to what was kept; returns the losses, none where nothing was."""
        if self._file is None or not self._file.exists():
            return np.zeros(0, np.float32)
        remedy = "Remove it to begin anew, or keep states in another folder."
        try:
            with np.load(self._file, allow_pickle=False) as arrays:
                key, losses = str(arrays["key"]), arrays["losses"]
                values = [arrays[f"variable_{number}"] for number in range(len(variables))]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"The state of a fine-tuning cannot be read. Received: {self._file} ({error}). "
                f"Expected what an earlier call wrote. {remedy}"
            ) from error
        if key != self._key:
            raise InputError(
                f"The state is of another fine-tuning. Received: {self._file}, which began with "
                "other weights, images, labels, seed or options. Expected the same. " + remedy
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return losses

    def keep(self, variables: list, losses: np.ndarray) -> None:
        """Writes them."""
        if self._file is None:
            return
        values = {f"variable_{number}": one.numpy() for number, one in enumerate(variables)}
        with explain_write_errors(self._file):
            self._file.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(self._file, "wb") as file:
            np.savez(file, key=np.array(self._key), losses=losses, **values)
