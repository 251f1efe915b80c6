"""Networks as files: they come back as they were, and files that mean harm do none."""

import json
import zipfile

import keras
import numpy as np
import pytest

from dc_keras.models.architectures import build_network
from dc_keras.models.options import NetworkOptions
from dc_keras.models.saved_network import load_network


@pytest.mark.parametrize(
    "options",
    [
        NetworkOptions(image_size=32, width=0.0625),
        NetworkOptions(image_size=64, arch="alexnet", width=0.0625),
        NetworkOptions(image_size=32, width=0.0625, fc_norm=True, temperature=0.1),
    ],
    ids=["vgg16", "alexnet", "batch norm and cosine head"],
)
def test_a_saved_network_loads_in_safe_mode(tmp_path, rng, options):
    network = build_network(options, 4)
    network.save(tmp_path / "network.keras")
    loaded = load_network(tmp_path / "network.keras")
    size = options.image_size
    images = rng.integers(0, 256, (3, size, size, 3), dtype="uint8")
    np.testing.assert_array_equal(network(images, training=False), loaded(images, training=False))


def write_hostile_network(path, mark):
    """A file whose Lambda layer is marshalled code that makes a file."""
    touch = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    layer = keras.layers.Lambda(eval(f"lambda x: ({touch}, x)[1]"))
    keras.Sequential([keras.Input([4]), layer]).save(path)
    mark.unlink(missing_ok=True)


def test_code_in_a_model_file_is_never_executed(tmp_path):
    mark = tmp_path / "executed"
    write_hostile_network(tmp_path / "hostile.keras", mark)
    with pytest.raises(Exception, match="(?i)lambda"):
        load_network(tmp_path / "hostile.keras")
    assert not mark.exists()
    loaded = keras.saving.load_model(tmp_path / "hostile.keras", safe_mode=False)
    loaded(np.zeros((1, 4), np.float32))
    assert mark.exists(), "the file would have been harmful"


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("builtins", "eval"), ("subprocess", "Popen")]
)
def test_a_model_file_cannot_name_functions_of_other_modules(tmp_path, module, name):
    build_network(NetworkOptions(image_size=32, width=1 / 16), 4).save(tmp_path / "good.keras")
    mark = tmp_path / "executed"
    calls = {
        "class_name": "function",
        "module": module,
        "config": name,
        "registered_name": name,
    }
    with (
        zipfile.ZipFile(tmp_path / "good.keras") as good,
        zipfile.ZipFile(tmp_path / "bad.keras", "w") as bad,
    ):
        for member in good.namelist():
            data = good.read(member)
            if member == "config.json":
                config = json.loads(data)
                (sobel,) = [
                    layer for layer in config["config"]["layers"] if layer["class_name"] == "Lambda"
                ]
                sobel["config"]["function"] = calls
                sobel["config"]["arguments"] = {"command": f"touch {mark}"}
                data = json.dumps(config).encode()
            bad.writestr(member, data)
    load_network(tmp_path / "good.keras")
    with pytest.raises((TypeError, ValueError)):
        network = load_network(tmp_path / "bad.keras")
        network(np.zeros((1, 32, 32, 3), np.uint8))
    assert not mark.exists()
