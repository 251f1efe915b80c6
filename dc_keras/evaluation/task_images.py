"""Tasks with images of their own: opened before anything takes time, and told of in the report."""

import dataclasses

from dc_keras import assembly
from dc_keras.config import EvaluationConfig, TrainingConfig
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.evaluation.measured import key_of
from dc_keras.evaluation.measures import Protocol, RetrievalTask, VocTask
from dc_keras.evaluation.report import EvaluationReport, Further
from dc_keras.evaluation.retrieval import account as retrieval_account
from dc_keras.evaluation.retrieval.retrieve import RetrievalProtocol
from dc_keras.evaluation.retrieval.search import SearchOptions, open_search
from dc_keras.evaluation.subjects import layers_of
from dc_keras.evaluation.voc import account as voc_account
from dc_keras.evaluation.voc.voc_images import open_voc
from dc_keras.evaluation.voc.voc_tuning import TuningOptions
from dc_keras.models.architectures import LAST_CONV, WITH_FULLY_CONNECTED


def with_images_of_tasks(
    protocol: Protocol,
    config: EvaluationConfig,
    settings: TrainingConfig,
    training: ImageSource,
    report: EvaluationReport,
) -> Protocol:
    """Opens the images of the tasks that have some of their own.

    Args:
        protocol: How all are judged, without these tasks.
        config: Which tasks, and where their images are.
        settings: Of the run, which tell how images are read.
        training: Images that whitening may be learned from.
        report: Is told of them.

    Returns:
        The protocol with them.

    Raises:
        InputError: If images or what is told of them cannot be read.
    """
    if "voc" in config.tasks():
        task, further = _voc(config, settings)
        report.further += (further,)
        if config.tuned() and not task.tuned:
            report.remarks += (
                "Nothing was fine-tuned on PASCAL VOC: that trains fully connected layers anew, "
                f"and {settings.arch} has none. Its features were judged by SVMs.",
            )
        protocol = dataclasses.replace(protocol, voc=task)
    if "retrieval" in config.tasks():
        search, further = _retrieval(config, settings, training)
        report.further += (further,)
        report.remarks += search.search.remarks
        protocol = dataclasses.replace(protocol, retrieval=search)
    return protocol


def _voc(config: EvaluationConfig, settings: TrainingConfig) -> tuple[VocTask, Further]:
    voc = open_voc(config.voc_dir, assembly.pixel_options(settings))
    layers, tuned = tuple(layers_of(settings.arch)), config.tuned()
    if settings.arch in WITH_FULLY_CONNECTED:
        layers = (*layers, "fc6")
    else:
        tuned = ()
    identity = key_of(
        names=[*voc.train.images.names, *voc.test.images.names],
        train=voc.train.labels,
        test=voc.test.labels,
    )
    task = VocTask(voc, identity, tuned, config.voc_steps)
    options = [TuningOptions(parts=parts, iterations=task.steps) for parts in task.tuned]
    lines = voc_account.method(voc, layers=layers, tuned=options)
    return task, Further(tuple(voc_account.tables(layers, task.tuned)), tuple(lines))


def _retrieval(
    config: EvaluationConfig, settings: TrainingConfig, training: ImageSource
) -> tuple[RetrievalTask, Further]:
    search = open_search(
        SearchOptions(
            config.retrieval_dir,
            config.queries,
            config.whiten_dir,
            max_bad_fraction=settings.max_bad_fraction,
            seed=settings.seed,
            pixels=assembly.pixel_options(settings),
        ),
        training,
    )
    describe = RetrievalProtocol(LAST_CONV[settings.arch], config.longest_side, seed=settings.seed)
    names = [*search.source.names, *search.others.names]
    identity = key_of(names=names, queries=repr(search.queries))
    lines = retrieval_account.method(search, describe)
    further = Further(tuple(retrieval_account.tables(search)), tuple(lines))
    return RetrievalTask(search, identity, describe), further
