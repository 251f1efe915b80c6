"""Features of all layers in one pass, into files, beside those of the deepest layer alone.

    python -m benchmarks.layer_pass --data_dir=DATA_SETS

VGG16 at width 1/4 and 32 pixels, on 2,000 images of CIFAR-10. Ratios of medians, of time on the
clock and of processor time; the second tells more where others use the machine.
"""

import time

import numpy as np

from benchmarks.interleaved import arguments, data_set, in_turn
from dc_keras.process import load_libraries_quietly


def main() -> None:
    """Measures and prints."""
    options = arguments(__doc__, reads_images=True)
    load_libraries_quietly()
    from dc_keras.data.sources.open import open_source
    from dc_keras.evaluation.layers.stored import stored_features
    from dc_keras.models.architectures import build_network
    from dc_keras.models.options import NetworkOptions

    folder = data_set(options, "cifar10")
    if folder is None:
        return
    images = open_source(str(folder / "train"))
    count = 200 if options.quick else 2000
    images = images.select(np.random.default_rng(0).permutation(len(images))[:count])
    network = build_network(NetworkOptions(image_size=32, width=0.25), num_clusters=100)

    def seconds(layers):
        def measure():
            started, used = time.perf_counter(), time.process_time()
            with stored_features(network, {"all": images}, layers, batch_size=250):
                return time.perf_counter() - started, time.process_time() - used

        return measure

    contenders = {"all layers": seconds(()), "fc7 alone": seconds(("fc7",))}
    found = in_turn(contenders, options.turns)
    medians = {name: np.median(turns, axis=0) for name, turns in found.items()}
    for name, (clock, processor) in medians.items():
        print(f"{name}: {clock:.2f} s on the clock, {processor:.2f} s of the processor")
    clock, processor = medians["all layers"] / medians["fc7 alone"]
    print(f"all layers take {clock:.2f} times the time, {processor:.2f} times the processor time")


if __name__ == "__main__":
    main()
