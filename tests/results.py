"""What runs have written, to be compared."""

import numpy as np

from dc_keras.runs.run_directory import RunDirectory


def assignments(run: RunDirectory) -> dict[str, np.ndarray]:
    """The cluster of each image by the file of each clustering, in order."""
    return {path.name: np.load(path) for path in sorted(run.assignments.iterdir())}


def assert_same_assignments(first: dict, second: dict) -> None:
    """Compares what `assignments` returned for two runs."""
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
