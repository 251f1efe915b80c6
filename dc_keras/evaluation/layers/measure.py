"""Probes every layer of a network, and says which layer to take."""

import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import sys
from collections.abc import Mapping

import keras
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from dc_keras.errors import CannotWriteError
from dc_keras.evaluation.labelled_images import Split
from dc_keras.evaluation.layers.saved_probes import save_probes
from dc_keras.evaluation.layers.stored import StoredFeatures, stored_features
from dc_keras.evaluation.linear_probe import ProbeResult, linear_probe
from dc_keras.evaluation.measured import Measured
from dc_keras.seeds import derive_seed

# What the names of the figures begin with.
PREFIX = "layer_"
# Layers that are probed at a time.
_AT_ONCE = 2


@dataclasses.dataclass(frozen=True)
class LayerOptions:
    """How all layers are probed.

    Attributes:
        batch_size: Images in a step of feature extraction.
        seed: The run's seed.
        layers: Names of layers; empty for all.
        scratch: Where the features are kept meanwhile; None for the system's temporary folder.
        probes: Where the probes are saved; None to save none.
    """

    batch_size: int
    seed: int
    layers: tuple[str, ...] = ()
    scratch: pathlib.Path | None = None
    probes: pathlib.Path | None = None


def measure_layers(network: keras.Model, split: Split, options: LayerOptions) -> Measured:
    """Probes the layers of a network by the convex protocol; see `probe_layers`.

    Returns:
        Figures as of `figures_of`, and which test images each probe classifies correctly.
    """
    results = probe_layers(network, split, options)
    if options.probes:
        # Where nothing can be written, the figures are worth having all the same.
        with contextlib.suppress(CannotWriteError):
            save_probes(options.probes, results, split.class_names)
    return Measured(
        figures_of(results), {f"{PREFIX}{layer}": one.correct for layer, one in results.items()}
    )


def probe_layers(
    network: keras.Model, split: Split, options: LayerOptions
) -> dict[str, ProbeResult]:
    """Fits a probe to the features of each layer, which one pass over the images computes.

    Args:
        network: From images to logits.
        split: Images and labels.
        options: Which layers, and how.

    Returns:
        What was found of each layer, from the image on.

    Raises:
        InputError: If the disk has no room for the features, or the labels cannot be probed.
    """
    sources = {"train": split.train, "test": split.test}
    with stored_features(
        network, sources, options.layers, batch_size=options.batch_size, folder=options.scratch
    ) as stored:
        return probe_stored(stored, split, options.seed)


def probe_stored(stored: StoredFeatures, split: Split, seed: int) -> dict[str, ProbeResult]:
    """Fits a probe to each layer of stored features, "train" and "test", two at a time.

    The regularisation of each is chosen on the same images. Memory: the features of two layers, and
    a copy of them.
    """

    def probe(layer: str) -> ProbeResult:
        return linear_probe(
            stored.load("train", layer),
            split.train_labels,
            stored.load("test", layer),
            split.test_labels,
            seed=derive_seed(seed, "probe of layers"),
        )

    # A fit uses one thread of BLAS: set here as well, so that the first to end does not unset it.
    with (
        threadpool_limits(1, user_api="blas"),
        concurrent.futures.ThreadPoolExecutor(min(_AT_ONCE, os.cpu_count() or 1)) as pool,
    ):
        bar = tqdm(
            pool.map(probe, stored.layers),
            total=len(stored.layers),
            desc="probes of layers",
            disable=not sys.stderr.isatty(),
            leave=False,
        )
        return dict(zip(stored.layers, bar, strict=True))


def figures_of(results: Mapping[str, ProbeResult]) -> dict[str, float]:
    """Figures of each layer by name.

    Returns:
        `layer_NAME`, the accuracy on test images; `layer_NAME_validation`, that on held-out
        training images; `layer_NAME_c`, the chosen regularisation; `layer_NAME_dim`, how many
        values an image has.
    """
    figures: dict[str, float] = {}
    for layer, result in results.items():
        name = f"{PREFIX}{layer}"
        figures |= {
            name: result.accuracy,
            f"{name}_validation": result.validation_accuracy,
            f"{name}_c": result.chosen_c,
            f"{name}_dim": len(result.mean),
        }
    return figures


def layers_of(figures: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """The layers among figures: of each its "accuracy", "validation", "c" and "dim".

    >>> layers_of({"nmi": 0.2, "layer_relu1": 0.5, "layer_relu1_dim": 3, "layer_relu1_c": 1.0,
    ...            "layer_relu1_validation": 0.6})
    {'relu1': {'accuracy': 0.5, 'validation': 0.6, 'c': 1.0, 'dim': 3}}
    """
    ends = ("validation", "c", "dim")
    return {
        key.removeprefix(PREFIX): {
            "accuracy": value,
            **{end: figures[f"{key}_{end}"] for end in ends},
        }
        for key, value in figures.items()
        if key.startswith(PREFIX) and f"{key}_dim" in figures
    }


def choose_layer(validation: Mapping[str, float], dimensions: Mapping[str, float]) -> str:
    """The layer that a user should take. Test images have no say.

    Args:
        validation: Accuracy on held-out training images, by layer.
        dimensions: How many values an image has, by layer.

    Returns:
        That of the highest accuracy, of equals that of fewer values, of these the deeper one.

    >>> choose_layer({"relu1": 0.5, "relu2": 0.7, "fc7": 0.7}, {"relu1": 9, "relu2": 9, "fc7": 4})
    'fc7'
    """
    # Of equals, `max` takes the first.
    deepest_first = list(validation)[::-1]
    return max(deepest_first, key=lambda layer: (validation[layer], -dimensions[layer]))


def chosen_sentence(figures: Mapping[str, float]) -> str:
    """Which layer to take, for the report; empty where no layers were probed.

    Args:
        figures: As of `figures_of`, among others.
    """
    layers = layers_of(figures)
    if not layers:
        return ""
    chosen = choose_layer(
        {layer: one["validation"] for layer, one in layers.items()},
        {layer: one["dim"] for layer, one in layers.items()},
    )
    one = layers[chosen]
    return (
        f"Layer to take: {chosen} ({one['dim']:,.0f} values), the best of {len(layers)} on "
        f"held-out training images with {one['validation']:.1%}; {one['accuracy']:.1%} on test "
        "images, which had no say."
    )
