"""Measures what a run has learned, beside the networks that it must be compared with.

All are judged in the same way on the same images; see `measures`. The labels are used for these
figures alone.
"""

import contextlib
import pathlib
import sys
import tempfile

from absl import logging

from dc_keras import assembly
from dc_keras.config import EvaluationConfig, TrainingConfig
from dc_keras.data.sources.labels import describe_labels
from dc_keras.errors import CannotWriteError, InputError
from dc_keras.evaluation.compared import Compared, calibration_batches, what_it_started_from
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
from dc_keras.evaluation.measures import RETRIEVAL_PICTURE, LayerProbes, Protocol, measure
from dc_keras.evaluation.over_epochs import agreement_figure, agreement_of_run
from dc_keras.evaluation.patches import check_side
from dc_keras.evaluation.report import GIVEN, EvaluationReport
from dc_keras.evaluation.showing import exhibits_of
from dc_keras.evaluation.subjects import Subject, check_can_be_judged, row_name
from dc_keras.evaluation.task_images import with_images_of_tasks
from dc_keras.evaluation.text import to_terminal
from dc_keras.evaluation.writing import write_report
from dc_keras.exploring.look.run_sheets import LookOptions, look_sheets
from dc_keras.machine import configure_devices, make_strategy
from dc_keras.runs.given import Given, load_given
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.starting_weights import StartingNetwork


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
    protocol = with_images_of_tasks(
        Protocol(
            clustering=assembly.clustering_options(settings),
            batch_size=config.batch_size,
            seed=settings.seed,
            layers=LayerProbes(config.probe, config.probe_epochs, config.ten_crops),
        ),
        config,
        settings,
        split.train,
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
        calibration=calibration_batches(settings, len(split.train))[1],
        start=starting.source,
        tasks=config.tasks(),
        class_names=split.class_names,
        train_labels=split.train_labels,
        test_names=tuple(split.test.names),
        test_labels=split.test_labels,
    )


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
