"""The method in plain PyTorch, judged as our trials are: a last line of JSON.

    python -m benchmarks.learning.yardstick TRAIN_DIR TEST_DIR --epochs=50 --width=0.25

Trains by benchmarks/torch_training.py, which takes all flags, and gives the weights to the same
network here. Needs PyTorch: pip install -r requirements-torch.txt
"""

import json
import sys
import time

from benchmarks import torch_training
from benchmarks.learning.trial import judge
from dc_keras.config import TrainingConfig
from dc_keras.process import load_libraries_quietly


def main(train_dir: str, test_dir: str, flags: list[str]) -> None:
    """Trains, measures and prints."""
    settings = torch_training.settings_of([train_dir, *flags])
    started = time.monotonic()
    trained = torch_training.train(settings)
    seconds = time.monotonic() - started

    load_libraries_quietly()
    from dc_keras.data.sources.open import open_source
    from dc_keras.evaluation.labelled_images import Split
    from dc_keras.pytorch.state_dict import infer_architecture, load_state_dict

    state = {
        name: tensor.numpy()
        for name, tensor in trained.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    network = infer_architecture(state, "vgg16", settings.image_size).build()
    load_state_dict(network, state)
    config = TrainingConfig(
        data_dir=train_dir, image_size=settings.image_size, width=settings.width
    )
    split = Split(open_source(train_dir), open_source(test_dir), "")
    figures = judge(network, split, config)
    print(json.dumps({"seconds": round(seconds, 1), "flags": flags, "figures": figures}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
