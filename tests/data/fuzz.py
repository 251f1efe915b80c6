"""Damages image files at random and reads them in every way: python fuzz.py FOLDER COUNT.

Ends with a line of JSON: how many files could be read and how many could not, and what the process
grew by. Every way must agree on which ones, and a bad image must leave the others of its batch as
they are.
"""

import io
import json
import pathlib
import resource
import sys

import numpy as np
import tensorflow as tf
from PIL import Image

from dc_keras.data.pixels.augmentation import Augmentation, augment
from dc_keras.data.pixels.center_crop import preprocess_for_clustering
from dc_keras.data.sources import inspection
from dc_keras.data.sources.folder import FolderSource
from dc_keras.models.feature_extractor import FEATURES, feature_model
from dc_keras.models.options import NetworkOptions
from dc_keras.models.vgg import build_vgg16
from dc_keras.serving.cluster_model import ClusterModel
from dc_keras.serving.saved_model import archive_of, write_archive

SIZE = 32


def originals(rng: np.random.Generator) -> list[bytes]:
    """Whole files of all kinds that are read."""
    smooth = np.cumsum(rng.integers(-9, 10, (48, 40, 3)), axis=1)
    image = Image.fromarray((smooth % 256).astype(np.uint8))
    with_alpha = image.copy()
    with_alpha.putalpha(128)
    turned = Image.Exif()
    turned[0x0112] = 6
    more = [image.rotate(90), image.rotate(180)]
    ways = [
        (image, "JPEG", {}),
        (image, "JPEG", {"progressive": True}),
        (image, "JPEG", {"exif": turned.tobytes()}),
        (image.convert("CMYK"), "JPEG", {}),
        (image.convert("L"), "JPEG", {}),
        (image, "PNG", {}),
        (with_alpha, "PNG", {}),
        (image.quantize(16), "PNG", {}),
        (Image.fromarray((smooth[..., 0] % 65536).astype(np.uint16)), "PNG", {}),
        (image, "GIF", {}),
        (image, "GIF", {"save_all": True, "append_images": more}),
        (image, "BMP", {}),
        (image.quantize(16), "BMP", {}),
        (image, "WEBP", {"quality": 80}),
        (with_alpha, "WEBP", {"lossless": True}),
        (image, "WEBP", {"save_all": True, "append_images": more}),
    ]
    files = []
    for picture, kind, options in ways:
        file = io.BytesIO()
        picture.save(file, kind, **options)
        files.append(file.getvalue())
    return files


def damaged(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """One to three kinds of damage, near the beginning more often than elsewhere."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(len(data) * rng.random() ** 3)
        match rng.integers(6):
            case 0:  # a bit
                data[at : at + 1] = bytes([data[at] ^ (1 << rng.integers(8))]) if data else b""
            case 1:  # extreme values in a field
                data[at : at + 4] = bytes(rng.choice([0, 1, 127, 128, 255], 4).tolist())
            case 2:  # cut off
                del data[max(1, len(data) - at - 1) :]
            case 3:  # something left out
                del data[at : at + int(rng.integers(1, 64))]
            case 4:  # something put in
                data[at:at] = rng.bytes(int(rng.integers(1, 64)))
            case 5:  # another file from here on
                data[at:] = others[rng.integers(len(others))][at:]
    return bytes(data)


def readable_by(function, files: list[bytes]) -> np.ndarray:
    """Which files a function reads inside a pipeline, bool `(n,)`."""
    dataset = tf.data.Dataset.from_tensor_slices(files).enumerate()
    dataset = dataset.map(lambda i, data: (i, function(data)), num_parallel_calls=2)
    found = np.zeros(len(files), bool)
    for index, image in dataset.ignore_errors(log_warning=False).as_numpy_iterator():
        assert image.shape == (SIZE, SIZE, 3)
        found[index] = True
    return found


def main(folder: pathlib.Path, count: int) -> None:
    """Runs the experiment."""
    rng = np.random.default_rng(7)
    whole = originals(rng)
    files = [damaged(whole[i % len(whole)], rng, whole) for i in range(count)]
    names = [f"{i:04d}.jpg" for i in range(count)]
    (folder / "images").mkdir()
    for name, data in zip(names, files, strict=True):
        (folder / "images" / name).write_bytes(data)
    network = build_vgg16(NetworkOptions(SIZE, width=1 / 16), 4)
    model = ClusterModel(feature_model(network, FEATURES))
    write_archive(archive_of(model), folder / "model")
    serve = tf.saved_model.load(str(folder / "model")).signatures["serving_default"]
    good = serve(image_bytes=tf.constant(whole[:2]))
    assert (good["status"].numpy() == b"").all() and good["features"].numpy().any()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    source = FolderSource(str(folder / "images"), names)
    unreadable = inspection.find_unreadable(source, progress=False)
    listed = ~np.isin(np.arange(count), list(unreadable))
    clustered = readable_by(lambda data: preprocess_for_clustering(data, SIZE), files)
    trained = readable_by(
        lambda data: augment(data, tf.constant([1, 2]), Augmentation(SIZE)), files
    )
    served = []
    for start in range(0, count, 50):
        answer = serve(image_bytes=tf.constant([*whole[:2], *files[start : start + 50]]))
        features, status = answer["features"].numpy(), answer["status"].numpy()
        assert np.allclose(features[:2], good["features"].numpy(), rtol=1e-4, atol=1e-5)
        assert (status[:2] == b"").all() and np.isfinite(features).all()
        assert not features[status != b""].any()
        served.extend(status[2:] == b"")
    # Whoever trains and whoever serves decide alike.
    np.testing.assert_array_equal(np.array(served), listed)
    # What the inspection lets through must never stop a run.
    assert not (listed & ~clustered).any(), np.flatnonzero(listed & ~clustered)
    assert not (listed & ~trained).any(), np.flatnonzero(listed & ~trained)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(
        json.dumps(
            {
                "files": count,
                "readable": int(listed.sum()),
                "unreadable": len(unreadable),
                "grown_mb": grown // 1024,
            }
        )
    )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
