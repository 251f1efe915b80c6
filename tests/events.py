"""Event files of TensorBoard, for tests that need some and read them."""

import pathlib

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


def write_losses(folder: pathlib.Path, epochs, suffix: str = "") -> pathlib.Path:
    """Writes an event file about epochs, each with half its number as the loss; returns it."""
    before = set(folder.iterdir()) if folder.exists() else set()
    writer = EventFileWriter(str(folder), filename_suffix=suffix)
    for epoch in epochs:
        value = Summary.Value(tag="loss", simple_value=epoch / 2)
        writer.add_event(Event(step=epoch, wall_time=7.0, summary=Summary(value=[value])))
    writer.close()
    (path,) = set(folder.iterdir()) - before
    return path


def told_losses(folder: pathlib.Path) -> list[tuple[int, float]]:
    """Epochs and losses that TensorBoard would show."""
    accumulator = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in accumulator.Scalars("loss")]


def told_tags(folder: pathlib.Path) -> list[tuple[int, str]]:
    """Steps and tags of all that was written, each as often as it was."""
    return sorted(
        (event.step, value.tag)
        for path in folder.glob("events.*")
        for event in LegacyEventFileLoader(str(path)).Load()
        for value in event.summary.value
    )
