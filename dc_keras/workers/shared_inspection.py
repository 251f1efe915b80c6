"""The images of a new run are looked at once, by all workers together."""

import json

import numpy as np

from dc_keras.clustering.spread import Workers, share_of
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.data.sources.inspection import Inspection, inspect
from dc_keras.workers.agreement import bytes_of


def inspect_together(source: ImageSource, workers: Workers, *, progress: bool) -> Inspection:
    """Decodes every image once, each worker those of its share; all must call it.

    Args:
        source: The images, the same on all workers.
        workers: Who look at them.
        progress: Whether to show a progress bar.

    Returns:
        What was seen of all images, on all workers.
    """
    rows = range(*share_of(len(source), workers))
    seen = inspect(source, progress=progress, rows=rows)
    if workers.count == 1:
        return seen
    own = json.dumps(list(seen.unreadable.items())).encode()
    found = [json.loads(bytes_of(rank, own, workers)) for rank in range(workers.count)]
    return Inspection(
        {index: why for of_worker in found for index, why in of_worker},
        workers.total(seen.sizes),
        workers.total(seen.is_deep.astype(np.int32)).astype(bool),
    )
