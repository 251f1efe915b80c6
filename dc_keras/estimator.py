"""DeepCluster in the manner of scikit-learn, on arrays and paths.

    from dc_keras import DeepCluster

    model = DeepCluster(num_clusters=50).fit("IMAGES")
    model.predict(["new.jpg"])

It is the training of train.py and the answers of `dc-keras assign` under other names: the run that
`fit` makes is one like any other, and every finished run can be loaded.
"""

import contextlib
import dataclasses
import io
import os
import pathlib
import shutil
import signal
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.exceptions import NotFittedError

from dc_keras.assembly import pixel_options
from dc_keras.config import TrainingConfig
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.given_images import (
    absolute_paths,
    as_images,
    data_set_of,
    is_list_of_paths,
)
from dc_keras.data.sources.image_source import ImageSource, numbered
from dc_keras.data.sources.inspection import leave_out_unreadable
from dc_keras.data.sources.manifest import read_manifest
from dc_keras.data.sources.open import open_source
from dc_keras.data.sources.value_range import with_value_range
from dc_keras.errors import InputError
from dc_keras.exploring.run_images import final_clusters
from dc_keras.process import prepare_process
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import load_model
from dc_keras.serving.assigned_images import answers, assign
from dc_keras.serving.cluster_model import ClusterModel, NearestClusters
from dc_keras.serving.run_model import model_of_run
from dc_keras.training.interruption import Interrupted
from dc_keras.training.loop import conclude, train

# Parameters that are flags of train.py under the same name.
_FLAGS = ("num_clusters", "mode", "image_size", "width", "epochs", "batch_size")
# What of a run is needed to use it, and to look at it.
_KEPT = ("flags.cfg", "manifest.csv", "manifest.json", "metrics.jsonl", "unreadable.csv", "model")
# Images that could not be read, in place of a cluster.
UNREAD = -1


@dataclasses.dataclass(frozen=True)
class Answers:
    """The clusters that images are nearest to, in the order in which they were given.

    Attributes:
        names: n names: paths as they were given, below the folder that was given, or numbers.
        clusters: The nearest clusters, nearest first, int32 `(n, top)`; -1 for images that cannot
            be read.
        distances: From their centroids, float32 `(n, top)`; NaN for images that cannot be read.
        margins: How much farther the second is than the first, float32 `(n,)`.
        outliers: Whether the image is farther away than 95 % of those that were fitted, bool
            `(n,)`.
        unreadable: The reason by name for images that cannot be read.
    """

    names: tuple[str, ...]
    clusters: np.ndarray
    distances: np.ndarray
    margins: np.ndarray
    outliers: np.ndarray
    unreadable: Mapping[str, str]


class DeepCluster(ClusterMixin, TransformerMixin, BaseEstimator):
    """Learns features and clusters of images without labels.

    Images are an array, uint8 `(n, height, width, 1 or 3)`; a list of paths of files of any size;
    or one path: a folder, or what else `train.py --data_dir` takes.

    Args:
        num_clusters: How many clusters: some tens of images for each. None: as the preset has it.
        preset: Which flags of train.py are the start: "auto" chooses them from the images and
            `hours`; "small_images", "photos" or another of `train.py --preset`.
        hours: How long "auto" may take; other presets do not look at it.
        mode: "paper" or "improved"; None: as the preset has it.
        image_size: Side in pixels at which images are seen; None: as the preset has it.
        width: Of the network; 1 is published; None: as the preset has it.
        epochs: Passes over the images; None: as the preset has it.
        batch_size: Crops in a training step; None: as the preset has it.
        random_state: Seed, from 0 on.
        run_dir: Folder of the run; one that was stopped goes on there. None: a temporary one, which
            is gone with the object, unless it is saved.
        verbose: Whether to print what train.py prints.
        flags: Other flags of train.py by name, such as `{"pca_dim": 64}`.

    Attributes:
        labels_: Cluster of each image, int32 `(n,)`, -1 where it cannot be read.
        names_: n names of the images.
        cluster_centers_: Centroids of the clusters among descriptors, float32 `(k, dim)`.
        run_: The run.

    >>> from dc_keras import DeepCluster
    >>> DeepCluster(num_clusters=20, width=0.125).get_params()["num_clusters"]
    20
    """

    def __init__(
        self,
        num_clusters=None,
        *,
        preset="auto",
        hours=1.0,
        mode=None,
        image_size=None,
        width=None,
        epochs=None,
        batch_size=None,
        random_state=31,
        run_dir=None,
        verbose=False,
        flags=None,
    ):
        self.num_clusters = num_clusters
        self.preset = preset
        self.hours = hours
        self.mode = mode
        self.image_size = image_size
        self.width = width
        self.epochs = epochs
        self.batch_size = batch_size
        self.random_state = random_state
        self.run_dir = run_dir
        self.verbose = verbose
        self.flags = flags

    def fit(self, X, y=None) -> Self:
        """Trains on images, and clusters them by what was learned.

        Ctrl-C stops it after the step that is under way: the images are then clustered by what was
        learned until then, the object can be used, and KeyboardInterrupt is raised. A second one
        stops that, too. With `run_dir`, the same call goes on from there.

        Args:
            X: Images.
            y: Not looked at.

        Returns:
            The object itself.

        Raises:
            InputError: If images or parameters do not allow it.
            KeyboardInterrupt: If it was stopped.
        """
        prepare_process()
        with self._folder() as run_dir:
            config = self._settings(data_set_of(X, run_dir), run_dir)
            with self._output():
                run, stopped = _train_or_conclude(config)
            self._take(run)
            if is_list_of_paths(X):
                self._order_as(absolute_paths(X))
        if stopped:
            raise KeyboardInterrupt
        return self

    def fit_predict(self, X, y=None, **keywords) -> np.ndarray:
        """Trains on images and returns their clusters, `labels_`."""
        return self.fit(X, y).labels_

    def predict(self, X) -> np.ndarray:
        """The nearest cluster of each image, int32 `(n,)`; -1 where it cannot be read."""
        return self.assign(X).clusters[:, 0]

    def transform(self, X) -> np.ndarray:
        """The descriptors of images, float32 `(n, dim)`, of unit length: features after PCA.

        Rows of images that cannot be read are NaN.
        """
        given = self._open(X)
        parts = list(answers(self._model(), "embedding", given.source))
        return given.spread(np.concatenate(parts), np.nan)

    def assign(self, X) -> Answers:
        """The nearest clusters of images, with distances, margins and outliers."""
        given = self._open(X)
        parts = list(assign(self._model(), given.source))
        nearest = NearestClusters(*map(np.concatenate, zip(*parts, strict=True)))
        return Answers(
            names=given.names,
            clusters=given.spread(nearest.clusters, UNREAD),
            distances=given.spread(nearest.distances, np.nan),
            margins=given.spread(nearest.margins, np.nan),
            outliers=given.spread(nearest.outliers, False),
            unreadable=given.unreadable,
        )

    def save(self, path: str | os.PathLike) -> None:
        """Copies what is needed to use the clusters into a folder: a run without its checkpoints.

        `dc-keras assign`, `export` and `DeepCluster.load` take it; `gallery`, `table` and the like
        do as long as the images are where they were.

        Args:
            path: The folder, which must not exist.

        Raises:
            InputError: If it exists.
        """
        run = self._fitted_run()
        path = pathlib.Path(os.path.expanduser(os.fspath(path)))
        if path.exists():
            raise InputError(
                f"There is something already. Received: {path}. Expected a name that is free."
            )
        path.mkdir(parents=True)
        images = pathlib.Path(run.config().data_dir)
        for name in (*_KEPT, *([images.name] if images.parent == run.path.absolute() else [])):
            source = run.path / name
            if source.is_dir():
                shutil.copytree(source, path / name)
            elif source.exists():
                shutil.copy2(source, path / name)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Opens a finished run, of `fit`, `save` or train.py.

        Args:
            path: Its folder.

        Raises:
            InputError: If there is no finished run.
        """
        run = RunDirectory(os.path.expanduser(os.fspath(path)))
        config = run.config()
        given = {name: getattr(config, name) for name in _FLAGS}
        model = cls(**given, preset=None, random_state=config.seed, run_dir=str(run.path))
        model._take(run)
        return model

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "run_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.non_deterministic = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        if self.__sklearn_is_fitted__():
            raise TypeError(
                "A fitted DeepCluster is not pickled. Received: an object whose network is in "
                f"{self.run_.path}. Use save(folder) and DeepCluster.load(folder)."
            )
        state: dict[str, Any] = super().__getstate__()
        return state

    def _settings(self, data_dir: str, run_dir: pathlib.Path) -> TrainingConfig:
        given: dict[str, Any] = {name: getattr(self, name) for name in _FLAGS}
        given = {name: value for name, value in given.items() if value is not None}
        given |= dict(self.flags or {})
        given |= {"seed": self.random_state, "data_dir": data_dir, "run_dir": str(run_dir)}
        preset = [f"--preset={self.preset}"] if self.preset else []
        if self.preset == "auto":
            given.setdefault("hours", self.hours)
        config = TrainingConfig.from_arguments(
            [*preset, *(f"--{name}={value}" for name, value in given.items())]
        )
        config.validate()
        return config

    def _take(self, run: RunDirectory) -> None:
        """Takes the result of a run."""
        final = final_clusters(run)
        manifest = read_manifest(run.manifest)
        self.run_ = run
        self.labels_ = final.clusters
        self.names_ = tuple(manifest.names)
        self.cluster_centers_ = load_model(run).centroids
        self._cluster_model: ClusterModel | None = None

    def _order_as(self, names: list[str]) -> None:
        """Brings labels into the order in which paths were given."""
        label_of = dict(zip(self.names_, self.labels_.tolist(), strict=True))
        self.labels_ = np.array([label_of.get(name, UNREAD) for name in names], np.int32)
        self.names_ = tuple(names)

    def _fitted_run(self) -> RunDirectory:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(
                "This DeepCluster is not fitted yet. Call fit(images), or DeepCluster.load(run)."
            )
        return self.run_

    def _model(self) -> ClusterModel:
        run = self._fitted_run()
        if self._cluster_model is None:
            self._cluster_model = model_of_run(run)
        return self._cluster_model

    def _open(self, X) -> "_Given":
        config = self._fitted_run().config()
        options = pixel_options(config)
        if not (isinstance(X, str | os.PathLike) or is_list_of_paths(X)):
            array = as_images(X)
            numbers = numbered("images", len(array))
            return _Given(tuple(numbers), ArraySource(array, numbers).read_with(options), {})
        with tempfile.TemporaryDirectory() as folder:
            everything = open_source(data_set_of(X, folder), options=options)
        # All but one may be unreadable: each is told by itself.
        source, seen = leave_out_unreadable(everything, 1 - 1e-9, progress=False)
        source, _ = with_value_range(source, seen.of_readable().is_deep)
        unreadable = {everything.names[index]: why for index, why in seen.unreadable.items()}
        names = absolute_paths(X) if is_list_of_paths(X) else everything.names
        return _Given(tuple(names), source, unreadable)

    @contextlib.contextmanager
    def _folder(self) -> Iterator[pathlib.Path]:
        """The folder of the run: a temporary one lives as long as the object, if all goes well."""
        if self.run_dir is not None:
            run_dir = pathlib.Path(os.path.expanduser(os.fspath(self.run_dir)))
            run_dir.mkdir(parents=True, exist_ok=True)
            yield run_dir
            return
        run_dir = pathlib.Path(tempfile.mkdtemp(prefix="dc_keras."))
        remove = weakref.finalize(self, shutil.rmtree, run_dir, ignore_errors=True)
        try:
            yield run_dir
        except BaseException:
            remove()
            raise

    @contextlib.contextmanager
    def _output(self) -> Iterator[None]:
        """Lets what train.py prints through, or not."""
        if self.verbose:
            yield
            return
        with contextlib.redirect_stdout(io.StringIO()):
            yield


def _train_or_conclude(config: TrainingConfig) -> tuple[RunDirectory, bool]:
    """Trains; if Ctrl-C stops that, clusters by what was learned. Tells whether it did."""
    try:
        return train(config), False
    except Interrupted as interrupted:
        if interrupted.exit_code != 128 + signal.SIGINT:
            raise
    try:
        return conclude(config.run_dir), True
    except (Interrupted, InputError) as error:
        raise KeyboardInterrupt from error


@dataclasses.dataclass(frozen=True)
class _Given:
    """Images that were given: the names of all, and a source of those that can be read."""

    names: tuple[str, ...]
    source: ImageSource
    unreadable: Mapping[str, str]

    def spread(self, rows: np.ndarray, missing: Any) -> np.ndarray:
        """Rows of the source's images as rows of all images.

        Args:
            rows: `(m, ...)`.
            missing: What stands in the rows of others.
        """
        row_of = {name: row for row, name in enumerate(self.source.names)}
        places = [row_of.get(name, -1) for name in self.names]
        filled = np.concatenate([rows, np.full((1, *rows.shape[1:]), missing, rows.dtype)])
        return filled[places]
