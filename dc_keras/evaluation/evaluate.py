"""Measures what a run has learned, beside the networks that it must be compared with.

Each network is judged in the same way on the same images: quality of the clusters of its features
against the labels, and how well labels can be read off its frozen features by nearest neighbours
and by a linear probe. The labels are used for these figures alone.
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence

import keras
import numpy as np
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from dc_keras.clustering.cluster_quality import cluster_quality
from dc_keras.clustering.features import FeatureExtractor
from dc_keras.clustering.pseudo_labels import assign_pseudo_labels
from dc_keras.clustering.whitening import fit_whitening
from dc_keras.config import EvaluationConfig, TrainingConfig
from dc_keras.data.balanced import UniformClusterSampler
from dc_keras.data.inspection import leave_out_unreadable
from dc_keras.data.ordered import ordered_batches
from dc_keras.data.sources import ImageSource, open_source, positions_of, read_manifest
from dc_keras.errors import InputError
from dc_keras.evaluation.knn import knn_accuracy
from dc_keras.evaluation.linear_probe import linear_probe, pooled_conv_features
from dc_keras.evaluation.report import EvaluationReport
from dc_keras.models.architectures import LAST_CONV
from dc_keras.models.deepcluster import feature_model
from dc_keras.runtime import configure_devices, derive_seed, make_strategy, numpy_rng
from dc_keras.training.run_state import RunDirectory
from dc_keras.training.train import Schedule, build_trainer, kmeans_options, training_pipeline

# The layers that are judged: the last convolution, before its pooling, and what is clustered.
LAYERS = ("conv5", "fc7")


@dataclasses.dataclass(frozen=True)
class Split:
    """Labelled images to fit probes on and others to test them on."""

    train: ImageSource
    test: ImageSource
    description: str


def evaluate(config: EvaluationConfig) -> EvaluationReport:
    """Evaluates a run and its baselines, and writes the results into its folder.

    Args:
        config: Validated settings.

    Returns:
        The report, which is also written as JSON and Markdown.

    Raises:
        InputError: If there is no run or no labels to compare with.
    """
    run = RunDirectory(config.run_dir)
    settings = run.config()
    configure_devices(config.virtual_devices)
    strategy = make_strategy(config.strategy, config.virtual_devices)
    split = open_labelled_images(config, run, settings)
    report = EvaluationReport(
        run_dir=config.run_dir,
        data_dir=config.data_dir or settings.data_dir,
        train_images=len(split.train),
        test_images=len(split.test),
        classes=len(split.train.class_names),
        num_clusters=min(settings.num_clusters, len(split.train)),
        seed=settings.seed,
        split=split.description,
    )
    for name, network in _networks(config, run, settings, split, strategy):
        print(f"Measuring the {name} network", flush=True)
        report.add(name, measure(network, split, settings, config.batch_size))
    if "pixels" in config.baselines():
        print("Measuring the pixels", flush=True)
        report.add("pixels", measure_pixels(split, settings, config.batch_size))
    report.write(run.evaluation)
    return report


def _networks(
    config: EvaluationConfig, run: RunDirectory, settings: TrainingConfig, split: Split, strategy
) -> Iterator[tuple[str, keras.Model]]:
    """Yields the networks to compare, by name."""
    with strategy.scope():
        trained = build_trainer(settings)
    run.load_weights(trained)
    yield "trained", trained
    for name in config.baselines():
        if name == "pixels":
            continue
        if name == "supervised":
            # From the labels alone.
            supervised = dataclasses.replace(settings, instance_weight=0.0)
            with strategy.scope():
                network = build_trainer(supervised, num_outputs=len(split.train.class_names))
            train_supervised(network, split.train, supervised)
        else:
            with strategy.scope():
                network = build_trainer(settings)
        yield name, network


def train_supervised(model: keras.Model, source: ImageSource, settings: TrainingConfig) -> None:
    """Trains the network of a run with the labels, on as many images, in the same way otherwise.

    Reference:
        Caron et al. 2018, equation 1.
    """
    sampler = UniformClusterSampler(len(source))
    sampler.set_labels(source.labels)
    schedule = Schedule.of(settings, len(source))

    class BeginEpoch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            sampler.begin_epoch(settings.seed, epoch)
            model.reseed_dropout(settings.seed, epoch)

    print(f"Training the supervised network for {schedule.epochs} epochs", flush=True)
    model.fit(
        training_pipeline(settings, source, sampler),
        epochs=schedule.epochs,
        shuffle=False,
        callbacks=[BeginEpoch()],
        verbose=1 if sys.stdout.isatty() else 2,
    )


def measure(
    network: keras.Model,
    split: Split,
    settings: TrainingConfig,
    batch_size: int,
    layers: Sequence[str] = LAYERS,
) -> dict[str, float]:
    """Measures one network.

    Args:
        network: From images to logits.
        split: Images and labels.
        settings: Of the run: image size, clustering, seed.
        batch_size: Images in a step of feature extraction.
        layers: To judge, of the network; "conv5" is the last convolution, before its pooling.

    Returns:
        Figures by name: cluster quality of the last of the layers, and for each layer the
        accuracies of k-nearest neighbours and of a linear probe, the regularisation chosen for it,
        and its accuracy on the training images which that was chosen on.
    """
    train, test = features_by_layer(network, split, settings, batch_size, layers)
    return measure_features(train, test, split, settings)


def features_by_layer(
    network: keras.Model,
    split: Split,
    settings: TrainingConfig,
    batch_size: int,
    layers: Sequence[str],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Features of the training and of the test images by layer; arguments as of `measure`."""
    names = [LAST_CONV[settings.arch] if layer == "conv5" else layer for layer in layers]
    with network.distribute_strategy.scope():
        extractor = FeatureExtractor(feature_model(network, *names))
    train, test = (
        dict(
            zip(
                layers,
                extract_layers(extractor, source, settings.image_size, batch_size),
                strict=True,
            )
        )
        for source in (split.train, split.test)
    )
    return train, test


def measure_features(
    train: dict[str, np.ndarray],
    test: dict[str, np.ndarray],
    split: Split,
    settings: TrainingConfig,
) -> dict[str, float]:
    """Measures features by layer, as of `features_by_layer`; returns what `measure` does."""
    layers = list(train)
    clusters = cluster_features(
        train[layers[-1]], settings, derive_seed(settings.seed, "evaluation")
    )
    figures = dict(cluster_quality(split.train.labels, clusters))
    for layer in layers:
        data = (train[layer], split.train.labels, test[layer], split.test.labels)
        figures[f"knn_{layer}"] = knn_accuracy(*data)
        probe = linear_probe(*data, seed=derive_seed(settings.seed, f"probe {layer}"))
        figures[f"probe_{layer}"] = probe.accuracy
        figures[f"probe_{layer}_c"] = probe.chosen_c
        figures[f"probe_{layer}_validation"] = probe.validation_accuracy
    return figures


def measure_pixels(split: Split, settings: TrainingConfig, batch_size: int) -> dict[str, float]:
    """Measures the pixels of the centre crops, averaged to at most 9,216 values, as features.

    Returns:
        Figures as of `measure`, under the names of fc7, in whose place the pixels are.
    """
    images = keras.Input((settings.image_size, settings.image_size, 3), dtype="uint8")
    pixels = keras.Model(images, keras.layers.Rescaling(1 / 255, name="pixels")(images))
    figures = measure(pixels, split, settings, batch_size, ("pixels",))
    return {name.replace("pixels", "fc7"): value for name, value in figures.items()}


def cluster_features(features: np.ndarray, settings: TrainingConfig, seed: int) -> np.ndarray:
    """Clusters features by k-means, as the training does.

    Args:
        features: float32 `(n, feature_dim)`.
        settings: Of the training: PCA, k-means and the number of clusters.
        seed: What k-means starts from is drawn with it.

    Returns:
        Cluster of each row, int32 `(n,)`.
    """
    whitening = fit_whitening(features, settings.pca_dim, whiten=settings.whiten)
    return assign_pseudo_labels(
        whitening.apply(features),
        min(settings.num_clusters, len(features)),
        options=kmeans_options(settings),
        seed=seed,
        turn=0,
    ).assignments


def extract_layers(
    extractor: FeatureExtractor, source: ImageSource, image_size: int, batch_size: int
) -> list[np.ndarray]:
    """Features of all images of a source, float32 `(n, d)` for each output of the extractor."""
    batches = ordered_batches(
        source, np.arange(len(source)), image_size=image_size, batch_size=batch_size
    )
    collected = []
    with tqdm(
        total=len(source), desc="features", disable=not sys.stderr.isatty(), leave=False
    ) as bar:
        for outputs in extractor(batches):
            # A model with a single output gives it bare.
            outputs = outputs if isinstance(outputs, list) else [outputs]
            flat = [pooled_conv_features(one) if one.ndim == 4 else one for one in outputs]
            collected.append(flat)
            bar.update(len(flat[0]))
    return [np.concatenate(layer) for layer in zip(*collected, strict=True)]


def open_labelled_images(
    config: EvaluationConfig, run: RunDirectory, settings: TrainingConfig
) -> Split:
    """Opens the images to evaluate on.

    Raises:
        InputError: If they have no labels, or a class is too small to be split.
    """
    if config.data_dir:
        train = open_source(config.data_dir)
    elif not settings.data_dir:
        raise InputError(
            f"The run has no images of its own, since its weights were imported. Received: "
            f"--run_dir={config.run_dir}. Give labelled images with --data_dir."
        )
    else:
        train = open_source(settings.data_dir)
        positions, _ = positions_of(read_manifest(run.manifest).names, train)
        train = train.select(positions)
    _check_labels(train, config.data_dir or settings.data_dir)
    train = _readable(_draw(train, config.max_images, settings.seed), settings)
    if config.test_dir:
        test = open_source(config.test_dir)
        _check_labels(test, config.test_dir)
        if test.class_names != train.class_names:
            raise InputError(
                "The classes of the test images differ. Received: "
                f"{', '.join(test.class_names[:10])}. Expected those of the training images: "
                f"{', '.join(train.class_names[:10])}."
            )
        test = _readable(_draw(test, config.max_images, settings.seed), settings)
        return Split(train, test, f"tested on {config.test_dir}")
    if np.bincount(train.labels).min() < 2:
        raise InputError(
            "A class has a single image, so it cannot be split into training and test images. "
            f"Received: {len(train)} images of {len(train.class_names)} classes. Give a "
            "--test_dir, or at least two images of each class."
        )
    fitted, tested = train_test_split(
        np.arange(len(train)),
        test_size=max(round(config.test_fraction * len(train)), len(train.class_names)),
        stratify=train.labels,
        random_state=derive_seed(settings.seed, "evaluation split"),
    )
    return Split(
        train.select(np.sort(fitted)),
        train.select(np.sort(tested)),
        f"tested on a random {config.test_fraction:.0%} of each class, which the networks may have "
        "seen without labels",
    )


def _readable(source: ImageSource, settings: TrainingConfig) -> ImageSource:
    """The images that can be read; those of the run may have changed since."""
    source, _ = leave_out_unreadable(
        source, settings.max_bad_fraction, progress=sys.stderr.isatty()
    )
    return source


def _check_labels(source: ImageSource, data_dir: str) -> None:
    if source.labels is None:
        raise InputError(
            f"The images have no labels to compare with. Received: {data_dir}. Expected a folder "
            "with one sub-folder for each class, or an .npz file with an array `labels`. Give "
            "labelled images with --data_dir."
        )


def _draw(source: ImageSource, max_images: int, seed: int) -> ImageSource:
    """At most so many images of a source, at random."""
    if len(source) <= max_images:
        return source
    rng = numpy_rng(seed, "evaluation images")
    return source.select(np.sort(rng.choice(len(source), max_images, replace=False)))
