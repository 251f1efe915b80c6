"""Measures what a run has learned, beside the networks that it must be compared with.

All are judged in the same way on the same images; see `measures`. The labels are used for these
figures alone.
"""

import contextlib
import dataclasses
import pathlib
import sys
import tempfile
from collections.abc import Iterator

import keras
import tensorflow as tf
from absl import logging

from dc_keras import assembly
from dc_keras.config import EvaluationConfig, TrainingConfig
from dc_keras.config.evaluation import NETWORK_FILE
from dc_keras.data.batches.ordered import ordered_batches
from dc_keras.data.sources.labels import describe_labels
from dc_keras.errors import CannotWriteError, InputError
from dc_keras.evaluation.calibration import CALIBRATION_IMAGES, calibrate
from dc_keras.evaluation.copies import count_copies
from dc_keras.evaluation.exhibits import Exhibit
from dc_keras.evaluation.labelled_images import (
    Split,
    SplitOptions,
    open_labelled_images,
    open_unlabelled_images,
)
from dc_keras.evaluation.lowshot import SIZES, sizes_within
from dc_keras.evaluation.measured import Measured, MeasuredBefore, key_of
from dc_keras.evaluation.measures import (
    RETRIEVAL_PICTURE,
    LayerProbes,
    Protocol,
    RetrievalTask,
    VocTask,
    measure,
)
from dc_keras.evaluation.over_epochs import agreement_figure, agreement_of_run
from dc_keras.evaluation.patches import check_side
from dc_keras.evaluation.report import CALIBRATED, GIVEN, RANDOM, TRAINED, EvaluationReport, Further
from dc_keras.evaluation.retrieval import account as retrieval_account
from dc_keras.evaluation.retrieval.retrieve import RetrievalProtocol
from dc_keras.evaluation.retrieval.search import SearchOptions, open_search
from dc_keras.evaluation.showing import exhibits_of
from dc_keras.evaluation.subjects import (
    Subject,
    check_can_be_judged,
    file_subject,
    layers_of,
    network_subject,
    patches_subject,
    pixels_subject,
    row_name,
    run_subject,
)
from dc_keras.evaluation.supervised import supervised_network
from dc_keras.evaluation.text import to_terminal
from dc_keras.evaluation.voc import account as voc_account
from dc_keras.evaluation.voc.voc_images import open_voc
from dc_keras.evaluation.voc.voc_tuning import TuningOptions
from dc_keras.evaluation.writing import write_report
from dc_keras.exploring.look.run_sheets import LookOptions, look_sheets
from dc_keras.machine import configure_devices, make_strategy
from dc_keras.models.architectures import LAST_CONV
from dc_keras.runs.given import Given, load_given
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.seeds import numpy_rng
from dc_keras.starting_weights import StartingNetwork, build_from_weights


def evaluate(config: EvaluationConfig) -> EvaluationReport:
    """Evaluates a run and its baselines, and writes the results.

    Args:
        config: Validated settings.

    Returns:
        The report, which is also written as JSON, Markdown and HTML.

    Raises:
        InputError: If there is no run or no labels to compare with, or what it started from
            is asked for and cannot be read.
        CannotWriteError: If the results cannot be written; they are printed before.
    """
    run = RunDirectory(config.run_dir)
    settings = run.config()
    folder = pathlib.Path(config.out or run.evaluation)
    configure_devices(config.virtual_devices)
    strategy = make_strategy(config.strategy, config.virtual_devices)
    starting = what_it_started_from(config, settings, strategy)
    if "patches" in config.baselines():
        check_side(settings.image_size)
    split = _open_images(config, run, settings)
    _check_writable(folder)
    for judged in (run, *map(RunDirectory, config.other_runs())):
        check_can_be_judged(judged, split)
    report = _empty_report(config, settings, split, starting)
    protocol = _with_images_of_tasks(
        Protocol(
            clustering=assembly.clustering_options(settings),
            batch_size=config.batch_size,
            seed=settings.seed,
            layers=LayerProbes(config.probe, config.probe_epochs, config.ten_crops),
        ),
        config,
        settings,
        split,
        report,
    )
    compared = Compared(config, run, settings, split, strategy, starting)
    before = MeasuredBefore(folder / "measured")
    for name, subject in compared.subjects(folder / "supervised", report.images):
        _measure(row_name(name, report.rows), subject, protocol, config.measured(), report, before)
    exhibits = [*exhibits_of(report), *_of_run(run, config, report)]
    if protocol.retrieval:
        exhibits += _searches(before.folder_of(next(iter(report.rows))))
    try:
        write_report(report, folder, exhibits=exhibits)
    except CannotWriteError:
        # What took long to measure is not lost with it.
        print(to_terminal(report))
        raise
    return report


def _measure(
    name: str,
    subject: Subject,
    protocol: Protocol,
    tasks: tuple[str, ...],
    report: EvaluationReport,
    before: MeasuredBefore,
) -> None:
    """Adds a row to the report: what was measured before, and what is missing of it."""
    common = key_of(
        identity=subject.identity,
        images=report.images,
        read_as=repr(subject.split.train.options),
        train_labels=report.train_labels,
        test_labels=report.test_labels,
        versions=report.versions,
    )
    keys = {task: key_of(common=common, protocol=protocol.of_task(task)) for task in tasks}
    known = {task: before.find(name, task, keys[task]) for task in tasks}
    missing = tuple(task for task, measured in known.items() if measured is None)
    print(f"{'Measuring' if missing else 'Measured before:'} {subject.told}", flush=True)
    for measured in known.values():
        report.add(name, measured or Measured())
    for task, measured in measure(subject, protocol, missing, before.folder_of(name)):
        report.add(name, measured)
        # Where nothing can be written, that was said at the start.
        with contextlib.suppress(CannotWriteError):
            before.keep(name, task, keys[task], measured)


def _open_images(config: EvaluationConfig, run: RunDirectory, settings: TrainingConfig) -> Split:
    """The labelled images, or images without labels where no task needs some."""
    options = _split_options(config, settings)
    if config.needs_labels():
        split = open_labelled_images(options, run, settings.data_dir)
        # What is judged on which classes is known before it takes time.
        print("\n".join(describe_labels(split.train, config.labels)), flush=True)
        return split
    return open_unlabelled_images(options, run, settings.data_dir)


def _with_images_of_tasks(
    protocol: Protocol,
    config: EvaluationConfig,
    settings: TrainingConfig,
    split: Split,
    report: EvaluationReport,
) -> Protocol:
    """Opens the images of the tasks that have some of their own, and tells the report of them."""
    pixels = assembly.pixel_options(settings)
    if "voc" in config.tasks():
        voc = open_voc(config.voc_dir, pixels)
        layers = (*layers_of(settings.arch), "fc6")
        identity = key_of(
            names=[*voc.train.images.names, *voc.test.images.names],
            train=voc.train.labels,
            test=voc.test.labels,
        )
        task = VocTask(voc, identity, config.tuned(), config.voc_steps)
        options = [TuningOptions(parts=parts, iterations=task.steps) for parts in task.tuned]
        lines = voc_account.method(voc, layers=layers, tuned=options)
        tables = voc_account.tables(layers, task.tuned)
        report.further += (Further(tuple(tables), tuple(lines)),)
        protocol = dataclasses.replace(protocol, voc=task)
    if "retrieval" in config.tasks():
        search = open_search(
            SearchOptions(
                config.retrieval_dir,
                config.queries,
                config.whiten_dir,
                max_bad_fraction=settings.max_bad_fraction,
                seed=settings.seed,
                pixels=pixels,
            ),
            split.train,
        )
        describe = RetrievalProtocol(
            LAST_CONV[settings.arch], config.longest_side, seed=settings.seed
        )
        identity = key_of(
            names=[*search.source.names, *search.others.names], queries=repr(search.queries)
        )
        lines = retrieval_account.method(search, describe)
        further = Further(tuple(retrieval_account.tables(search)), tuple(lines))
        report.further += (further,)
        report.remarks += search.remarks
        protocol = dataclasses.replace(
            protocol, retrieval=RetrievalTask(search, identity, describe)
        )
    return protocol


def _searches(folder: pathlib.Path) -> list[Exhibit]:
    """What some searches of the run's network found."""
    try:
        picture = (folder / RETRIEVAL_PICTURE).read_bytes()
    except OSError:
        return []
    note = (
        "Left: what was looked for. Right: what was found, best first; green frames are right, "
        "red ones wrong, grey ones do not count."
    )
    return [Exhibit("What searches found", note, picture)]


def _of_run(run: RunDirectory, config: EvaluationConfig, report: EvaluationReport) -> list[Exhibit]:
    """What is seen of the run alone: its clusters over the epochs, its filters and heat maps."""
    found = []
    if "clusters" in config.tasks() and (points := agreement_of_run(run)):
        note = (
            "Agreement of the clusters that were trained on with the classes of the run's images."
        )
        found.append(Exhibit.of_figure("Over the epochs", note, agreement_figure(points)))
    if "look" in config.tasks():
        found += _look(run, config, report)
    return found


def _look(run: RunDirectory, config: EvaluationConfig, report: EvaluationReport) -> list[Exhibit]:
    """What filters and clusters of the run respond to; a remark where that cannot be seen."""
    print("Looking at filters and clusters", flush=True)
    options = LookOptions(max_images=min(2000, config.max_images), batch_size=config.batch_size)
    try:
        sheets = look_sheets(run, options, progress=sys.stderr.isatty())
    except InputError as error:
        report.remarks = (*report.remarks, str(error))
        return []
    return [Exhibit.of_picture(one.title, one.note, one.picture) for one in sheets]


@dataclasses.dataclass(frozen=True)
class Compared:
    """A run, and what it is compared with.

    Attributes:
        config: Settings of the evaluation.
        run: The run.
        settings: Its settings.
        split: Labelled images.
        strategy: Of the devices.
        starting: What the run started from.
    """

    config: EvaluationConfig
    run: RunDirectory
    settings: TrainingConfig
    split: Split
    strategy: tf.distribute.Strategy
    starting: StartingNetwork

    def subjects(self, supervised: pathlib.Path, images: str) -> Iterator[tuple[str, Subject]]:
        """Yields what is compared, by name; each is made when its turn comes.

        Args:
            supervised: Where the network is kept that is trained with the labels.
            images: A checksum of the images.
        """
        given = load_given(self.run)
        told = given.told if given else "the trained network"
        size = self.config.batch_size
        yield (
            GIVEN if given else TRAINED,
            run_subject(told, self.run, self.split, self.strategy, size),
        )
        for name in self.config.baselines():
            if name == "pixels":
                yield name, pixels_subject(self.split, self.settings.image_size, size)
            elif name == "patches":
                yield (
                    name,
                    patches_subject(
                        self.split, self.settings.image_size, size, seed=self.settings.seed
                    ),
                )
            elif name in self.config.other_runs():
                run = RunDirectory(name)
                yield name, run_subject(f"the run {name}", run, self.split, self.strategy, size)
            elif name.endswith(NETWORK_FILE):
                yield name, file_subject(name, self.split, self.settings.image_size, size)
            elif not given:
                for row, network in self.networks(name, supervised, images):
                    yield (
                        row,
                        network_subject(
                            f"the {row} network",
                            network,
                            self.split,
                            layers_of(self.settings.arch),
                            size,
                        ),
                    )

    def networks(
        self, name: str, supervised: pathlib.Path, images: str
    ) -> Iterator[tuple[str, keras.Model]]:
        """The networks of a baseline, by name; arguments as of `subjects`."""
        if name == "random":
            with self.strategy.scope():
                network = assembly.build_untrained(self.settings)
            yield RANDOM, network
            _calibrate(network, self.settings, self.split)
            yield CALIBRATED, network
        if name == "init" and self.starting.network:
            yield name, self.starting.network
        if name == "supervised":
            yield (
                name,
                supervised_network(
                    self.settings, self.split, self.strategy, folder=supervised, images=images
                ),
            )


def _split_options(config: EvaluationConfig, settings: TrainingConfig) -> SplitOptions:
    """Which labelled images, and how they are split."""
    return SplitOptions(
        data_dir=config.data_dir,
        test_dir=config.test_dir,
        test_fraction=config.test_fraction,
        max_images=config.max_images,
        max_bad_fraction=settings.max_bad_fraction,
        seed=settings.seed,
        pixels=assembly.pixel_options(settings),
        labels=config.labels,
        held_out=not {"linear", "layers", "lowshot", "semi"}.isdisjoint(config.tasks()),
    )


def _empty_report(
    config: EvaluationConfig, settings: TrainingConfig, split: Split, starting: StartingNetwork
) -> EvaluationReport:
    """What is known before anything is measured."""
    given = load_given(RunDirectory(config.run_dir))
    copies = count_copies(
        split.train,
        split.test,
        # Networks by others, and AlexNet, take sizes that its thumbnails are no part of.
        image_size=max(32, settings.image_size // 32 * 32),
        batch_size=config.batch_size,
    )
    return EvaluationReport(
        run_dir=config.run_dir,
        data_dir=config.data_dir or settings.data_dir,
        train_images=len(split.train),
        test_images=len(split.test),
        classes=len(split.class_names),
        num_clusters=min(settings.num_clusters, len(split.train)),
        seed=settings.seed,
        split=split.description,
        whitened=settings.whiten,
        training_method=settings.clustering,
        remarks=(*split.remarks, *_remarks(given), *_left_out(config.tasks(), split)),
        copies=copies.exact,
        near_copies=copies.near,
        images=copies.images,
        calibration=_calibration(settings, len(split.train))[1],
        start=starting.source,
        tasks=config.tasks(),
        class_names=split.class_names,
        train_labels=split.train_labels,
        test_names=tuple(split.test.names),
        test_labels=split.test_labels,
    )


def what_it_started_from(
    config: EvaluationConfig, settings: TrainingConfig, strategy: tf.distribute.Strategy
) -> StartingNetwork:
    """What the run started from, if that is asked for: read before anything takes time.

    Raises:
        InputError: If it started from random weights, or the others cannot be read any more.
    """
    if "init" not in config.baselines():
        return StartingNetwork()
    if not settings.init_from:
        raise InputError(
            "The run started from random weights. Received: --baseline=init for "
            f"--run_dir={config.run_dir}, which had no --init_from. Use --baseline=random."
        )
    return build_from_weights(settings, strategy)


def _remarks(given: Given | None) -> tuple[str, ...]:
    """What a reader should know of features that were given."""
    if given is None:
        return ()
    return (
        f"The row {GIVEN} is {given.told} of {given.file}, in fc7's place. Nothing was trained.",
    )


def _left_out(tasks: tuple[str, ...], split: Split) -> tuple[str, ...]:
    """Which numbers of images low-shot classification leaves out, a sentence or none."""
    if "lowshot" not in tasks:
        return ()
    left_out = SIZES[len(sizes_within(split.train_labels)) :]
    if not left_out:
        return ()
    return (
        f"Low-shot: {', '.join(map(str, left_out))} images of each class are left out. The "
        "smallest class has fewer, beside those that are held out.",
    )


def _check_writable(folder: pathlib.Path) -> None:
    """Warns before anything is measured if the report cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        logging.warning(
            "The report cannot be written. Received: %s (%s). It will be printed alone: end this, "
            "and give a folder that may be written to with --out, to keep it.",
            folder,
            error,
        )


def _calibration(settings: TrainingConfig, num_images: int) -> tuple[int, str]:
    """How many batches the statistics of the random network are fitted to, and that in words."""
    batch_size = min(settings.batch_size, num_images)
    count = max(1, min(CALIBRATION_IMAGES, num_images) // batch_size)
    return count, f"{count:,} batches of {batch_size:,} training images"


def _calibrate(network: keras.Model, settings: TrainingConfig, split: Split) -> None:
    """Fits the statistics of a random network to centre crops of random training images."""
    num_images = len(split.train)
    count, _ = _calibration(settings, num_images)
    drawn = numpy_rng(settings.seed, "calibration").permutation(num_images)
    batches = ordered_batches(
        split.train,
        drawn[: count * settings.batch_size],
        image_size=settings.image_size,
        batch_size=settings.batch_size,
    )
    calibrate(network, batches)
