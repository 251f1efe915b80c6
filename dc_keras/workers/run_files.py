"""The files that a run goes on from, brought from the first worker to the others."""

import functools
import json
import os
import pathlib

import numpy as np

from dc_keras.clustering.spread import Workers
from dc_keras.runs.run_directory import RunDirectory

# Bytes that travel at a time.
_AT_A_TIME = 1 << 26


def bring_run(
    run: RunDirectory, checkpoint: pathlib.Path | None, workers: Workers
) -> pathlib.Path | None:
    """Brings what a run goes on from to all workers; all must call it.

    So only the first worker has to see the run's folder.

    Args:
        run: Of this worker; of the first one the run, of others an empty folder.
        checkpoint: The one that the first worker goes on from, if there is one.
        workers: Who bring it.

    Returns:
        The checkpoint as it is on this worker.
    """
    if workers.count == 1:
        return checkpoint
    sources: dict[str, pathlib.Path] = {}
    if workers.rank == 0:
        files = (run.flags, run.manifest, run.manifest.with_suffix(".json"), run.unreadable)
        for path in (*files, run.metrics):
            if path.exists():
                sources[path.name] = path
        if checkpoint is not None:
            inside = f"{run.checkpoints.name}/{checkpoint.name}"
            sources |= {f"{inside}/{path.name}": path for path in sorted(checkpoint.iterdir())}
    sizes = {name: path.stat().st_size for name, path in sources.items()}
    (told,) = workers.from_first(lambda: [np.frombuffer(json.dumps(sizes).encode(), np.uint8)])
    sizes = json.loads(told.tobytes())
    for name, size in sizes.items():
        if workers.rank:
            (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        with open(run.path / name if workers.rank else os.devnull, "wb") as file:
            for start in range(0, size, _AT_A_TIME):
                read = functools.partial(_part, sources.get(name, run.path), start)
                (part,) = workers.from_first(read)
                file.write(part.tobytes())
    if workers.rank == 0:
        return checkpoint
    return next((path.parent for path in run.checkpoints.glob("*/*")), None)


def _part(path: pathlib.Path, start: int) -> list[np.ndarray]:
    """Some bytes of a file, uint8 `(m,)`, by themselves."""
    with open(path, "rb") as file:
        file.seek(start)
        return [np.frombuffer(file.read(_AT_A_TIME), np.uint8)]
