"""One trial: a training and what its features are worth at each depth, as one line of JSON.

    python -m benchmarks.learning.trial TEST_DIR TRAIN_FLAGS...

`benchmarks.learning.run` starts each trial in a process of its own. With --epochs=0 the network
stays as it started.
"""

import json
import resource
import sys
import time

import numpy as np

from dc_keras.config import TrainingConfig
from dc_keras.runtime import load_libraries_quietly

# What is judged, from the image to what is clustered, and the published pair.
DEPTHS = ("pool1", "pool2", "pool3", "pool4", "pool5", "fc7")
LAYERS = ("conv5", *DEPTHS)


def best_layer(figures: dict[str, float]) -> str:
    """The layer whose probe is best on training images that it was not fitted to."""
    scores = [figures[f"probe_{layer}_validation"] for layer in DEPTHS]
    return DEPTHS[int(np.argmax(scores))]


def main(test_dir: str, flags: list[str]) -> None:
    """Trains, measures and prints.

    Args:
        test_dir: Labelled images to test on.
        flags: Of train.py.
    """
    load_libraries_quietly()
    from dc_keras.data.sources import open_source
    from dc_keras.evaluation.evaluate import Split, measure
    from dc_keras.training.train import build_trainer, train

    untrained = "--epochs=0" in flags
    config = TrainingConfig.from_arguments([flag for flag in flags if flag != "--epochs=0"])
    config.validate()
    started = time.monotonic()
    records = []
    network = build_trainer(config)
    if not untrained:
        run = train(config)
        records = run.read_metrics()
        run.load_weights(network)
    seconds = time.monotonic() - started
    split = Split(open_source(config.data_dir), open_source(test_dir), "")
    figures = measure(network, split, config, config.batch_size, LAYERS)
    best = best_layer(figures)
    figures |= {"probe_best": figures[f"probe_{best}"], "knn_best": figures[f"knn_{best}"]}
    print(
        json.dumps(
            {
                "seconds": round(seconds, 1),
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "figures": figures,
                "best_layer": best,
                "epochs": records,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
