"""How well a network serves for PASCAL VOC: by SVMs on its layers, and by fine-tuning it."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from dc_keras.evaluation.layer_features import features_by_layer
from dc_keras.evaluation.measured import Measured
from dc_keras.evaluation.voc.average_precision import AveragePrecision, average_precisions
from dc_keras.evaluation.voc.tunable import make_tunable
from dc_keras.evaluation.voc.voc_images import Voc
from dc_keras.evaluation.voc.voc_svm import svm_precisions
from dc_keras.evaluation.voc.voc_tuning import TuningOptions, random_square_scores, tune

# Behind a figure's name; the figure itself is the mean over eleven recalls.
SUMMARIES = {"": "eleven", "_area": "area", "_envelope": "envelope"}


def measure_voc_svm(
    network: keras.Model, voc: Voc, layers: Mapping[str, str], *, batch_size: int, seed: int
) -> Measured:
    """Fits SVMs to the features of each layer.

    Args:
        network: From images to logits or features.
        voc: The images.
        layers: Names of its layers by those that they are reported under, as of
            `subjects.layers_of`, such as "conv5", "fc6" and "fc7".
        batch_size: Images in a step of feature extraction.
        seed: The run's seed.

    Returns:
        Figures `voc_svm_LAYER` (mean over the classes of the eleven-point average precision),
        `voc_svm_LAYER_area` and `voc_svm_LAYER_envelope`; details by the same name, see
        `_of_classes`, with the chosen C of each class.
    """
    train, test = (
        features_by_layer(network, part.images, layers, batch_size)
        for part in (voc.train, voc.test)
    )
    measured = Measured()
    for layer in layers:
        found = svm_precisions(
            train.pop(layer),
            voc.train.labels,
            test.pop(layer),
            voc.test.labels,
            seed=seed,
            judged=voc.judged,
        )
        name = f"voc_svm_{layer}"
        of_test = [None if one is None else one.test for one in found]
        measured |= _of_classes(name, of_test, voc.class_names)
        for one, result in zip(voc.class_names, found, strict=True):
            if result is not None:
                measured.details[name][one]["c"] = result.chosen_c
    return measured


def measure_voc_tuned(
    network: keras.Model,
    voc: Voc,
    options: TuningOptions,
    *,
    seed: int,
    states: pathlib.Path | None = None,
) -> Measured:
    """Fine-tunes a copy of a network and tests it.

    Args:
        network: From images to logits; one of this program.
        voc: The images.
        options: How; figures are called after its `parts`.
        seed: The run's seed.
        states: Folder in which its state is kept, as `tuned_PARTS.npz`; None to keep none.

    Returns:
        Figures `voc_tuned_all` or `voc_tuned_fc`, with `_area` and `_envelope` as of the SVMs, and
        `_loss`, the mean over the last tenth of the steps; details by class.

    Raises:
        InputError: If the network cannot be fine-tuned, or its state is of something else.
    """
    tunable = make_tunable(
        network,
        len(voc.class_names),
        options.parts,
        seed,
        train_batch_norm=options.train_batch_norm,
    )
    file = None if states is None else states / f"tuned_{options.parts}.npz"
    losses = tune(tunable, voc.train, options, seed=seed, state_file=file)
    scores = random_square_scores(tunable, voc.test.images, crops=options.crops, seed=seed)
    found = [
        average_precisions(voc.test.labels[:, one], scores[:, one]) if judged else None
        for one, judged in enumerate(voc.judged)
    ]
    name = f"voc_tuned_{options.parts}"
    measured = _of_classes(name, found, voc.class_names)
    measured.figures[f"{name}_loss"] = float(np.mean(losses[-max(1, len(losses) // 10) :]))
    return measured


def _of_classes(
    name: str, found: Sequence[AveragePrecision | None], class_names: Sequence[str]
) -> Measured:
    """Means over the classes as figures, and each as details.

    Returns:
        Details `{name: {class: {"eleven": ..., "area": ..., "envelope": ...}}}`.
    """
    of_class = {
        one: dataclasses.asdict(precision)
        for one, precision in zip(class_names, found, strict=True)
        if precision is not None
    }
    figures = {
        name + ending: float(np.mean([one[summary] for one in of_class.values()]))
        for ending, summary in SUMMARIES.items()
    }
    return Measured(figures, details={name: of_class})
