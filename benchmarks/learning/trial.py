"""One trial: a training and what its features are worth at each depth, as one line of JSON.

    python -m benchmarks.learning.trial TEST_DIR POINTS TRAIN_FLAGS...

`benchmarks.learning.run` starts each trial in a process of its own. With --epochs=0 the network
stays as it started.
"""

import dataclasses
import json
import pathlib
import resource
import sys
import time

import numpy as np

from dc_keras.config import TrainingConfig
from dc_keras.process import prepare_process
from dc_keras.seeds import derive_seed

# What is judged, from the image to what is clustered: all of these that a network has. The last
# convolution is one of them where no pooling follows it.
DEPTHS = ("pool1", "pool2", "pool3", "pool4", "pool5", "conv5", "fc7")
# A forward pass over an image takes about a third of a training step on it: the backward pass
# computes twice as much.
EXTRACTION_COST = 1 / 3
# NMI depends on the number of clusters, so all networks are judged with as many.
CLUSTERS_TO_JUDGE = 100


def best_layer(figures: dict[str, float]) -> str:
    """The layer whose probe is best on training images that it was not fitted to."""
    judged = [layer for layer in DEPTHS if f"probe_{layer}_validation" in figures]
    if "pool5" in judged:
        judged.remove("conv5")
    scores = [figures[f"probe_{layer}_validation"] for layer in judged]
    return judged[int(np.argmax(scores))]


def compute_spent(seen: float, num_images: int, records: list[dict]) -> int:
    """What a training took, in training images: those it saw, and its extractions of features.

    Args:
        seen: Images that it saw.
        num_images: In the data set.
        records: Lines of its metrics.jsonl, of the epochs in which it saw them.
    """
    # Each of them passes all images through the network; one more follows the last epoch.
    clusterings = 1 + sum("clusters" in record["cluster"] for record in records)
    return round(seen + EXTRACTION_COST * clusterings * num_images)


def judge(network, split, config: TrainingConfig) -> dict[str, float]:
    """What a network's features are worth at each depth.

    Args:
        network: From images to logits.
        split: Labelled images, a `dc_keras.evaluation.labelled_images.Split`.
        config: Of its training.

    Returns:
        Figures of `dc_keras.evaluation.measures.measure`, and of the best layer.
    """
    from dc_keras import assembly
    from dc_keras.config.evaluation import USUAL_TASKS
    from dc_keras.evaluation.measures import Protocol, measure
    from dc_keras.evaluation.subjects import network_subject
    from dc_keras.models.architectures import LAST_CONV

    as_trained = assembly.clustering_options(config)
    protocol = Protocol(
        clustering=dataclasses.replace(as_trained, num_clusters=CLUSTERS_TO_JUDGE),
        batch_size=config.batch_size,
        seed=config.seed,
    )
    names = {layer.name for layer in network.layers}
    layers = {"conv5": LAST_CONV[config.arch]}
    layers |= {depth: depth for depth in DEPTHS if depth in names}
    subject = network_subject("", network, split, layers, config.batch_size)
    train, _ = features = subject.features()
    subject = dataclasses.replace(subject, features=lambda: features)
    figures = {
        name: value
        for _, measured in measure(subject, protocol, USUAL_TASKS, pathlib.Path(config.run_dir))
        for name, value in measured.figures.items()
    }
    best = best_layer(figures)
    return figures | {
        "probe_best": figures[f"probe_{best}"],
        "knn_best": figures[f"knn_{best}"],
        "best_depth": DEPTHS.index(best),
        "seeds_agree": seeds_agree(train["fc7"], protocol),
    }


def seeds_agree(features: np.ndarray, protocol) -> float:
    """NMI of two clusterings of the same images that differ in what k-means started from.

    Args:
        features: Of the images, float32 `(n, feature_dim)`.
        protocol: How to cluster, a `dc_keras.evaluation.measures.Protocol`.
    """
    from dc_keras.clustering.cluster_quality import normalized_mutual_information
    from dc_keras.evaluation.measures import cluster_features

    first, second = (
        cluster_features(features, protocol.clustering, derive_seed(protocol.seed, purpose))
        for purpose in ("agreement", "agreement again")
    )
    return normalized_mutual_information(first, second)


def main(test_dir: str, points: int, flags: list[str]) -> None:
    """Trains, measures and prints.

    Args:
        test_dir: Labelled images to test on.
        points: How often to measure, at equal distances up to the end of the training.
        flags: Of train.py.
    """
    prepare_process()
    from dc_keras.assembly import build_untrained, fit_first_layer
    from dc_keras.data.sources.open import open_source
    from dc_keras.evaluation.labelled_images import Split
    from dc_keras.runs.checkpoints import load_weights
    from dc_keras.runs.run_directory import epochs_done
    from dc_keras.training.loop import train

    untrained = "--epochs=0" in flags
    flags = [flag for flag in flags if flag != "--epochs=0"]
    config = TrainingConfig.from_arguments([*flags, "--keep_checkpoints=100000"])
    config.validate()
    split = Split(open_source(config.data_dir), open_source(test_dir), "")
    started = time.monotonic()
    network = build_untrained(config)
    records, curve = [], []
    if not untrained:
        run = train(config)
        records = run.read_metrics()
    seconds = time.monotonic() - started
    if untrained:
        fit_first_layer(network, config, split.train)
        curve.append({"images": 0, "compute": 0, "figures": judge(network, split, config)})
    else:
        checkpoints = run.newest_checkpoints()[::-1]
        images = len(split.train) * config.epochs / epochs_done(checkpoints[-1])
        for point in range(1, points + 1):
            path = checkpoints[-(-point * len(checkpoints) // points) - 1]
            load_weights(path, network)
            done = epochs_done(path)
            spent = compute_spent(images * done, len(split.train), records[:done])
            figures = judge(network, split, config)
            curve.append({"images": round(images * done), "compute": spent, "figures": figures})
    print(
        json.dumps(
            {
                "seconds": round(seconds, 1),
                "compute": curve[-1]["compute"],
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "figures": curve[-1]["figures"],
                "curve": curve,
                "epochs": records,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
