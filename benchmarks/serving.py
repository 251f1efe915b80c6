"""JPEG files to features for a few images at a time: ours, the Keras model itself, PyTorch, ONNX.

    python -m benchmarks.serving --data_dir=DATA

The published VGG16 at 224 pixels, and a quarter of its width, on the photographs of DATA/photos
(docs/data_sets.md) from their bytes, in batches of 1, 8 and 64. "ours" is the SavedModel of
`dc-keras export`. "Keras" decodes by the same functions and calls the model. PyTorch, onnxruntime
get their pixels from Pillow, image by image as a simple server does it. Each has a process of its
own. ONNX is left out at the published width, which tf2onnx needs more than 20 GB to convert.
Needs: pip install -r requirements-torch.txt -r requirements-serving.txt
"""

import argparse
import io
import pathlib
import tempfile
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.interleaved import arguments, data_set, rates
from benchmarks.networks import CHANNELS_LAST, CLUSTERS, NCHW, in_processes
from benchmarks.rows import Subject, report_speed
from dc_keras.process import prepare_process

BATCHES = (1, 8, 64)
SIDE = 224
# To PyTorch with Pillow, and to onnxruntime.
GOALS = {NCHW: 1.5, CHANNELS_LAST: 1.5, "onnxruntime": 1.0}


def main() -> None:
    """Measures and prints."""
    options = arguments(__doc__, turns=3, reads_images=True)
    folder = data_set(options, "photos")
    if folder is None:
        return
    side, batches = (32, (1, 8)) if options.quick else (SIDE, BATCHES)
    for width in (0.25,) if options.quick else (1.0, 0.25):
        measure(options, str(folder), (side, width), batches)


def measure(
    options: argparse.Namespace,
    folder: str,
    network: tuple[int, float],
    batches: Sequence[int],
) -> None:
    """Measures a network, given by its side and width, in batches of several sizes."""
    side, width = network
    with tempfile.TemporaryDirectory() as exported:
        write_models(network, exported, onnx=width < 1)
        for batch in batches:
            given = (folder, batch, network)
            wanted = {
                "ours": (saved_model, exported, *given),
                "Keras": (keras_model, *given),
                NCHW: (torch_network, "contiguous_format", *given),
                CHANNELS_LAST: (torch_network, "channels_last", *given),
            }
            if width < 1:
                wanted["onnxruntime"] = (onnx_network, exported, *given)
            with in_processes(wanted) as contenders:
                measured = rates(contenders, options.turns, seconds=0 if options.quick else 2)
            subject = Subject(
                "JPEG bytes to features",
                f"VGG16-BN, width {width:g}, {side} px, batch of {batch}",
                ["tensorflow", "keras", "torch", "onnxruntime"],
            )
            report_speed(options, subject, measured, "images/s", goals=GOALS)


def write_models(network: tuple[int, float], folder: str, *, onnx: bool) -> None:
    """Writes the SavedModel and the ONNX file of a network with random weights."""
    prepare_process()
    from dc_keras.serving.cluster_model import ClusterModel
    from dc_keras.serving.onnx_model import write_onnx
    from dc_keras.serving.saved_model import archive_of, write_archive

    model = ClusterModel(_features(network))
    write_archive(archive_of(model), pathlib.Path(folder, "1"))
    if onnx:
        write_onnx(model, pathlib.Path(folder, "model.onnx"))


def saved_model(
    exported: str, folder: str, batch: int, network: tuple[int, float]
) -> Callable[[], int]:
    """What TensorFlow Serving would run."""
    prepare_process()
    import tensorflow as tf

    loaded = tf.saved_model.load(f"{exported}/1")
    images = tf.constant(_bytes(folder, batch))

    def work():
        return len(loaded.signatures["serving_default"](image_bytes=images)["features"].numpy())

    return work


def keras_model(folder: str, batch: int, network: tuple[int, float]) -> Callable[[], int]:
    """The Keras model, called directly."""
    prepare_process()
    import tensorflow as tf

    from dc_keras.data.pixels.center_crop import preprocess_for_clustering

    side, model = network[0], _features(network)
    call = tf.function(lambda images: model(images, training=False))
    prepare = tf.function(lambda encoded: preprocess_for_clustering(encoded, side))
    encoded = [tf.constant(image) for image in _bytes(folder, batch)]

    def work():
        return len(call(tf.stack([prepare(image) for image in encoded])).numpy())

    return work


def torch_network(
    layout: str, folder: str, batch: int, network: tuple[int, float]
) -> Callable[[], int]:
    """The same network in PyTorch, with Pillow."""
    import torch

    from benchmarks.pillow_loader import normalized
    from benchmarks.torch_vgg import Vgg16

    encoded, format_ = _bytes(folder, batch), getattr(torch, layout)
    side, width = network
    model = Vgg16(side, CLUSTERS, width).to(memory_format=format_).eval()

    def work():
        pixels = [normalized(square) for square in _squares(encoded, side)]
        with torch.inference_mode():
            return len(model.fc7(torch.stack(pixels).contiguous(memory_format=format_)).numpy())

    return work


def onnx_network(
    exported: str, folder: str, batch: int, network: tuple[int, float]
) -> Callable[[], int]:
    """What `dc-keras export --onnx` writes, with Pillow."""
    import onnxruntime

    session = onnxruntime.InferenceSession(f"{exported}/model.onnx")
    encoded = _bytes(folder, batch)

    def work():
        images = np.stack(_squares(encoded, network[0]))
        return len(session.run(["features"], {"images": images})[0])

    return work


def _features(network: tuple[int, float]):
    from dc_keras.models.feature_extractor import FEATURES, feature_model
    from dc_keras.models.options import NetworkOptions
    from dc_keras.models.vgg import build_vgg16

    side, width = network
    return feature_model(build_vgg16(NetworkOptions(side, width=width), CLUSTERS), FEATURES)


def _bytes(folder: str, batch: int) -> list[bytes]:
    """The first photographs."""
    paths = sorted(pathlib.Path(folder).rglob("*.jpg"))[:batch]
    return [path.read_bytes() for path in paths]


def _squares(encoded: list[bytes], side: int) -> list[np.ndarray]:
    """Centre crops by Pillow, uint8 `(side, side, 3)`."""
    from PIL import Image

    from benchmarks.pillow_loader import central_crop

    squares = []
    for content in encoded:
        with Image.open(io.BytesIO(content)) as image:
            squares.append(np.array(central_crop(image.convert("RGB"), side)))
    return squares


if __name__ == "__main__":
    main()
