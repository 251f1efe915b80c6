"""Semi-supervised learning: how good a network becomes that is fine-tuned on few labels.

A copy of the network, with a new linear layer on its features, is trained on 1 % and on 10 % of the
labels. The rates are chosen on training images that none of these are drawn from; the test images
are looked at by the final networks alone.
"""

import dataclasses
import sys
from collections.abc import Mapping, Sequence

import keras
import numpy as np
from tqdm import tqdm

from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.batches.samplers import make_sampler
from dc_keras.data.batches.training import TrainingBatches
from dc_keras.data.pixels.augmentation import Augmentation
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.errors import InputError
from dc_keras.evaluation.labelled_images import Split
from dc_keras.evaluation.linear_probe import hold_out
from dc_keras.evaluation.measured import Measured
from dc_keras.evaluation.tables import Column, Table
from dc_keras.models.blocks import FC_STDDEV
from dc_keras.models.coupled_sgd import CoupledSGD
from dc_keras.models.deepcluster import DeepCluster
from dc_keras.models.feature_extractor import FEATURES, FeatureExtractor, feature_model
from dc_keras.seeds import derive_seed, numpy_rng

# Passes, and fifths of the training after which the rates fall, and to what part: at epochs 12 and
# 16 by the default of the release.
EPOCHS, PARTS, FALLS, FALL = 20, 5, (3, 4), 0.2
BATCH_SIZE, MOMENTUM = 256, 0.9
# Few labels would be too few steps: 80 images are one batch, and twenty steps teach little.
MIN_STEPS = 200
# Of fewer labelled images than this one draw tells too little.
FEW_IMAGES, DRAWS = 2000, 3
# Images that rates are chosen on, at most.
VALIDATION_IMAGES = 1000


@dataclasses.dataclass(frozen=True)
class Rates:
    """Learning rates at the start.

    Attributes:
        backbone: Of the network.
        head: Of the new layer.
    """

    backbone: float
    head: float


# Labels in per cent, and the published rates.
PUBLISHED = {1: Rates(0.02, 5.0), 10: Rates(0.01, 0.2)}
# The rates to choose from: both published ones, so that either suits any number of labels.
GRID = tuple(PUBLISHED.values())


def draw_labels(
    labels: np.ndarray, allowed: np.ndarray, percent: int, seed: int, draw: int
) -> np.ndarray:
    """Draws images of each class, in per cent of all that it has, at least one.

    Those of fewer per cent are among those of more.

    Args:
        labels: Integers `(n,)`.
        allowed: Which may be drawn, boolean `(n,)`.
        percent: Images of each class.
        seed: Draws them.
        draw: Number of the draw.

    Returns:
        Indices, int64, class by class.

    >>> labels = np.repeat([0, 1], [30, 200])
    >>> np.bincount(labels[draw_labels(labels, labels >= 0, percent=1, seed=31, draw=0)])
    array([1, 2])
    """
    shuffled = numpy_rng(seed, "semi", draw).permutation(np.flatnonzero(allowed))
    drawn = []
    for one in np.unique(labels):
        size = max(1, round(np.count_nonzero(labels == one) * percent / 100))
        drawn.append(shuffled[labels[shuffled] == one][:size])
    return np.concatenate(drawn)


def schedule(images: int) -> tuple[int, int]:
    """How long so many labelled images are trained on.

    Returns:
        Images in a batch, and steps in each of five parts of the training.

    >>> schedule(12811), schedule(80)
    ((256, 200), (80, 40))
    """
    batch_size = min(BATCH_SIZE, images)
    steps = max(MIN_STEPS, EPOCHS * round(images / batch_size))
    return batch_size, -(-steps // PARTS)


class FineTuning:
    """A copy of a network with a new linear layer, trained again and again from the same weights.

    Args:
        network: From images to features or logits; it stays as it is.
        classes: Number of classes.
        seed: Draws the new layer, the crops and the order of images.
    """

    def __init__(self, network: keras.Model, classes: int, seed: int):
        self._seed = seed
        features = feature_model(network, FEATURES)
        with network.distribute_strategy.scope():
            copied = keras.models.clone_model(features)
            copied.set_weights(features.get_weights())
            # In Keras, batch norm that is not trained keeps its statistics in training, too.
            scaled = keras.layers.BatchNormalization(
                epsilon=0, center=False, scale=False, trainable=False, name="scale", dtype="float32"
            )
            head = keras.layers.Dense(
                classes,
                kernel_initializer=keras.initializers.RandomNormal(
                    stddev=FC_STDDEV, seed=derive_seed(seed, "semi head")
                ),
                name="head",
                dtype="float32",
            )
            self._model = DeepCluster(copied.input, head(scaled(copied.output)))
            self._of_backbone = CoupledSGD(0.0, MOMENTUM)
            self._of_head = CoupledSGD(0.0, MOMENTUM, name="head_sgd")
            self._model.compile(self._of_backbone, self._of_head)
            self._extractor = FeatureExtractor(keras.Model(self._model.input, self._model.output))
        self._start = self._model.get_weights()

    def train(self, source: ImageSource, labels: np.ndarray, rates: Rates, bar: tqdm) -> None:
        """Trains from the network's weights on, on all images of a source.

        Args:
            source: The images.
            labels: Their classes, integers `(n,)`.
            rates: At the start.
            bar: Moves on by `PARTS`.
        """
        batch_size, steps = schedule(len(source))
        batches = TrainingBatches(
            source,
            make_sampler("natural", len(source), steps * batch_size),
            Augmentation(image_size=self._model.input_shape[1]),
            steps=steps,
            batch_size=batch_size,
        )
        batches.sampler.set_labels(labels)
        self._begin(source)
        seed, model, of_backbone, of_head = (
            self._seed,
            self._model,
            self._of_backbone,
            self._of_head,
        )

        class EachPart(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                batches.sampler.begin_epoch(derive_seed(seed, "semi order"), epoch)
                model.reseed_dropout(seed, epoch)
                fallen = FALL ** sum(epoch >= part for part in FALLS)
                of_backbone.learning_rate = rates.backbone * fallen
                of_head.learning_rate = rates.head * fallen

            def on_epoch_end(self, epoch, logs=None):
                bar.update()

        model.fit(batches.dataset(), epochs=PARTS, shuffle=False, callbacks=[EachPart()], verbose=0)

    def correct(self, source: ImageSource, labels: np.ndarray, batch_size: int) -> np.ndarray:
        """Which images of a source are classified correctly, by their centre crops.

        Args:
            source: The images.
            labels: Their classes, integers `(n,)`.
            batch_size: Images in a step.

        Returns:
            Boolean `(n,)`.
        """
        batches = ordered_batches(
            source,
            np.arange(len(source)),
            image_size=self._extractor.image_size,
            batch_size=batch_size,
        )
        logits = np.concatenate(list(self._extractor(batches)))
        # What diverged is no answer, and not the first class.
        return (logits.argmax(axis=1) == labels) & np.isfinite(logits).all(axis=1)

    def _begin(self, source: ImageSource) -> None:
        """Goes back to the network's weights, and scales its features to a mean square length of 1.

        So the same rates suit features of any size. They are taken as in the training, with the
        statistics of the batch.
        """
        model = self._model
        model.set_weights(self._start)
        model.reseed_dropout(self._seed, 0)
        for optimizer in (self._of_backbone, self._of_head):
            for variable in optimizer.variables:
                if variable is not optimizer.learning_rate:
                    variable.assign(np.zeros(variable.shape, variable.dtype))
        first = np.arange(min(BATCH_SIZE, len(source)))
        (crops,) = ordered_batches(
            source, first, image_size=model.input_shape[1], batch_size=len(first)
        ).as_numpy_iterator()
        scale = model.get_layer("scale")
        features = keras.Model(model.input, scale.input)(crops, training=True)
        square = float(np.square(np.asarray(features, np.float64)).sum(axis=1).mean())
        # The statistics of batch norm have moved by that.
        model.set_weights(self._start)
        scale.moving_variance.assign(np.full(features.shape[1], max(square, 1e-12), "float32"))


def semi(network: keras.Model, split: Split, batch_size: int, *, seed: int) -> Measured:
    """Fine-tunes a network on few labels and tests it.

    Args:
        network: From images to features or logits, with a layer "fc7"; its weights stay.
        split: Labelled images.
        batch_size: Images in a step of testing.
        seed: Decides which images are drawn and held out: the same ones for all networks.

    Returns:
        The accuracies `semi_1` and `semi_10`, with `_sd` over the draws (of a sample) where there
        are several, and the rates that were chosen, `_backbone` and `_head`. Which test images are
        classified correctly is that of the first draw.

    Raises:
        InputError: If there are fewer than two classes, or none of them has two training images.

    Reference:
        Caron et al. 2020, "Unsupervised Learning of Visual Features by Contrasting Cluster
        Assignments", eval_semisup.py of its release: SGD with momentum 0.9 and no weight decay, 20
        epochs of batches of 256, rates times 0.2 at epochs 12 and 16. There the best epoch on the
        test images is reported.
    """
    labels = split.train_labels
    if len(split.class_names) < 2:
        raise InputError(
            "Semi-supervised learning needs two classes to tell apart. Received: "
            f"{len(split.class_names)}. Give images of at least two classes."
        )
    held_out = hold_out(labels, numpy_rng(seed, "semi validation"))
    chosen_on = numpy_rng(seed, "semi validation images").permutation(np.flatnonzero(held_out))
    chosen_on = chosen_on[:VALIDATION_IMAGES]
    validation = split.train.select(chosen_on), labels[chosen_on]
    tuning = FineTuning(network, len(split.class_names), seed)
    numbers = {percent: draws_of(labels, percent) for percent in PUBLISHED}
    total = PARTS * sum(len(GRID) + number for number in numbers.values())
    found = Measured()
    with tqdm(total=total, desc="semi", disable=not sys.stderr.isatty(), leave=False) as bar:
        for percent, number in numbers.items():
            indices = [
                draw_labels(labels, ~held_out, percent, seed, draw) for draw in range(number)
            ]
            draws = [(split.train.select(drawn), labels[drawn]) for drawn in indices]
            scores = []
            for rates in GRID:
                tuning.train(*draws[0], rates, bar)
                scores.append(tuning.correct(*validation, batch_size).mean())
            best = GRID[int(np.argmax(scores))]
            correct = []
            for drawn in draws:
                tuning.train(*drawn, best, bar)
                correct.append(tuning.correct(split.test, split.test_labels, batch_size))
            found |= _measured(f"semi_{percent}", best, correct)
    return found


def draws_of(labels: np.ndarray, percent: int) -> int:
    """How many times images are drawn: several times where they are few."""
    return DRAWS if len(labels) * percent / 100 < FEW_IMAGES else 1


def _measured(name: str, rates: Rates, correct: list[np.ndarray]) -> Measured:
    accuracies = [one.mean() for one in correct]
    figures = {
        name: float(np.mean(accuracies)),
        f"{name}_backbone": rates.backbone,
        f"{name}_head": rates.head,
    }
    if len(accuracies) > 1:
        figures[f"{name}_sd"] = float(np.std(accuracies, ddof=1))
    return Measured(figures, {name: correct[0]})


def tables() -> list[Table]:
    """The table of a report."""
    columns = [Column(f"semi_{percent}", "labels", f"{percent} %", ".1%") for percent in PUBLISHED]
    title = "Semi-supervised: fine-tuned on a part of the labels, mean and deviation over the draws"
    return [Table(columns, title, "Fine-tuned on few labels")]


def method(train_labels: np.ndarray, rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    """How it was measured, as Markdown.

    Args:
        train_labels: Classes of the training images, integers `(n,)`.
        rows: Figures by network.
    """
    draws = {percent: draws_of(train_labels, percent) for percent in PUBLISHED}
    told = ", ".join(f"{number} of {percent} %" for percent, number in draws.items())
    lines = [
        "- Semi: a copy of the whole network with a new linear layer on fc7, before its ReLU and "
        "divided by the root of its mean square length, is trained on so many per cent of the "
        "training images of each class, at least one, and tested on the centre crops of all test "
        f"images after the last step. Draws: {told}, the same ones for all networks; mean and "
        "standard deviation (of a sample). As in the release of SwAV (Caron et al. 2020): SGD with "
        f"momentum {MOMENTUM:g}, no weight decay, {EPOCHS} epochs of batches of {BATCH_SIZE}, "
        f"random resized crops and flips, rates times {FALL:g} after 12 and 16 epochs. Unlike it: "
        "the last step counts and not the best epoch on the test images; all "
        f"images are a batch where they are fewer, and there are at least {MIN_STEPS} steps, "
        f"with the falls as far through; the rates are the better of {_listed(GRID)} (backbone and "
        f"new layer) on up to {VALIDATION_IMAGES:,} training images that none is drawn from, "
        "never on the test images. So the choice of rates has seen more labels than the training."
    ]
    for network, figures in rows.items():
        chosen = [
            f"{figures[f'semi_{percent}_backbone']:g} and {figures[f'semi_{percent}_head']:g} for "
            f"{percent} %"
            for percent in PUBLISHED
            if f"semi_{percent}_backbone" in figures
        ]
        if chosen:
            lines.append(f"- Rates chosen for the {network} network: {', '.join(chosen)}.")
    return lines


def _listed(grid: Sequence[Rates]) -> str:
    return " or ".join(f"{one.backbone:g} and {one.head:g}" for one in grid)
