"""Files of TensorBoard that tell of epochs which are done again."""

import pathlib

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.summary.writer.record_writer import RecordWriter

from dc_keras.files import write_atomically


def forget_events_after(path: pathlib.Path, epoch: int) -> None:
    """Takes out of an event file what it tells of later epochs, and a cut end.

    Args:
        path: The file; it is removed when nothing is left.
        epoch: The last one to keep.
    """
    events = list(LegacyEventFileLoader(str(path)).Load())
    kept = [event for event in events if event.step <= epoch]
    if len(kept) <= 1:
        path.unlink()  # The first one tells the version of the format.
    elif len(kept) < len(events):
        with write_atomically(path, "wb") as file:
            writer = RecordWriter(file)
            for event in kept:
                writer.write(event.SerializeToString())
