"""The method in plain PyTorch, judged as our trials are: one line of JSON.

    python -m benchmarks.learning.yardstick TRAIN_DIR TEST_DIR --epochs 50 --k 200 --width 0.25

Trains with ../shared/reference/torch_reference.py, which takes all flags but the folders and prints
its own lines, and gives the weights to the same network here. Needs PyTorch:
pip install -r requirements-torch.txt
"""

import json
import sys
import time
import types

from benchmarks.learning.trial import judge
from benchmarks.programs import REFERENCE
from dc_keras.config import TrainingConfig
from dc_keras.runtime import load_libraries_quietly

# Its fully connected layers, by the names that they have in the public code.
NAMES = {"fc1": "classifier.0", "fc2": "classifier.3", "top": "top_layer"}


def train(flags: list[str]) -> dict:
    """Runs the reference to its end.

    Args:
        flags: Its arguments.

    Returns:
        Arrays by the names of the public code.
    """
    source = REFERENCE.read_text()
    start = "\nmain()"
    if not source.rstrip().endswith(start):
        raise SystemExit(f"{REFERENCE} does not end with {start.strip()} as it did")
    reference = types.ModuleType("torch_reference")
    # Its loaders' processes are forked, so they need not import it.
    exec(compile(source.rstrip().removesuffix(start), REFERENCE, "exec"), vars(reference))
    networks = []
    Net = reference.Net

    def remembered(*arguments):
        networks.append(Net(*arguments))
        return networks[-1]

    reference.Net = remembered
    sys.argv = [str(REFERENCE), *flags]
    reference.main()
    state = {}
    for name, tensor in networks[0].state_dict().items():
        module, _, rest = name.partition(".")
        if module not in ("gray", "sob") and not name.endswith("num_batches_tracked"):
            state[f"{NAMES.get(module, module)}.{rest}"] = tensor.numpy()
    return state


def main(train_dir: str, test_dir: str, flags: list[str]) -> None:
    """Trains, measures and prints."""
    started = time.monotonic()
    # Before TensorFlow is loaded, whose threads would not survive in the loaders' processes.
    state = train(["--data", train_dir, "--test", test_dir, *flags])
    seconds = time.monotonic() - started

    load_libraries_quietly()
    from dc_keras.data.sources import open_source
    from dc_keras.evaluation.evaluate import Split
    from dc_keras.models.state_dict import FRONT_END, infer_architecture, load_state_dict

    architecture = infer_architecture(FRONT_END | state, "vgg16")
    network = architecture.build()
    load_state_dict(network, FRONT_END | state)
    config = TrainingConfig(
        data_dir=train_dir, image_size=architecture.image_size, width=architecture.width
    )
    split = Split(open_source(train_dir), open_source(test_dir), "")
    figures = judge(network, split, config)
    print(json.dumps({"seconds": round(seconds, 1), "flags": flags, "figures": figures}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
