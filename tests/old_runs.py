"""Makes checkpoints and flagfiles such as versions before this one wrote them."""

import hashlib
import pathlib

import numpy as np

# Flags that were taken out, as a run of the paper's mode had them in its flags.cfg.
REMOVED_FLAGS = """\
--projection=0
--instances_first=0.3
--reassign_churn=0.0
--kmeans_init=random
--kmeans_warm_start=false
--kmeans_nredo=1
--kmeans_early_stop=0.0
"""


def forget_numbers(checkpoint: pathlib.Path) -> None:
    """Takes the numbers that clusters are shown under out of a checkpoint."""
    path = checkpoint / "clusters.npz"
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with np.load(path) as file:
        arrays = {name: file[name] for name in file if name != "numbers"}
    np.savez(path, **arrays)
    after = hashlib.sha256(path.read_bytes()).hexdigest()
    sums = checkpoint / "SHA256SUMS"
    text = sums.read_text()
    assert before in text
    sums.write_text(text.replace(before, after))
