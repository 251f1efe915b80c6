"""PyTorch's files as runs and back; what such a file must not be able to do."""

import dataclasses
import os
import pathlib
import pickle
import sys

import numpy as np
import pytest

import textures
import torch_networks
from dc_keras.config import EvaluationConfig, TrainingConfig
from dc_keras.errors import InputError
from dc_keras.evaluation.evaluate import evaluate
from dc_keras.models.deepcluster import load_network
from dc_keras.serving.cluster_ids import write_clusters
from dc_keras.serving.saved_model import export
from dc_keras.training.checkpoints import load_checkpoint
from dc_keras.training.run_state import RunDirectory
from dc_keras.training.torch_checkpoint import export_checkpoint, import_checkpoint
from dc_keras.training.train import build_trainer, train

SIZE, CLUSTERS, WIDTH = 64, 9, 0.0625


def network(arch="alexnet"):
    return torch_networks.build(arch, SIZE, CLUSTERS, width=WIDTH)


def published_file(path, theirs, arch="alexnet", **changes):
    """Writes a checkpoint as the public code does: the features in a DataParallel."""
    import torch

    theirs.features = torch.nn.DataParallel(theirs.features)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9)
    content = {
        "epoch": 7,
        "arch": arch,
        "state_dict": theirs.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(content | changes, path)
    theirs.features = theirs.features.module
    return path


@pytest.fixture(scope="module")
def imported(torch, tmp_path_factory):
    """An imported AlexNet: the run's folder and PyTorch's network."""
    folder, theirs = tmp_path_factory.mktemp("imported"), network()
    import_checkpoint(published_file(folder / "checkpoint.pth.tar", theirs), folder / "run")
    return folder / "run", theirs


def logits_of(theirs, images):
    import torch

    with torch.no_grad():
        return theirs.eval()(torch_networks.normalized(images, theirs)).numpy()


def assert_same_logits(ours, theirs, rng):
    images = rng.integers(0, 256, (3, SIZE, SIZE, 3), dtype="uint8")
    want = logits_of(theirs, images)
    # Float32 sums in another order.
    np.testing.assert_allclose(ours(images), want, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize("arch", ["vgg16", "alexnet"])
def test_an_imported_network_gives_pytorchs_logits(torch, tmp_path, rng, arch):
    theirs = network(arch)
    path = published_file(tmp_path / "checkpoint.pth.tar", theirs, arch)
    config = import_checkpoint(path, tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    assert run.config() == config
    assert (config.arch, config.image_size, config.num_clusters) == (arch, SIZE, CLUSTERS)
    assert (config.width, config.sobel, config.epochs) == (WIDTH, True, 7)
    assert [path.name for path in run.newest_checkpoints()] == ["epoch-0007"]
    assert_same_logits(load_network(run.model / "network.keras"), theirs, rng)
    trainer = build_trainer(config)
    run.load_weights(trainer)
    assert_same_logits(trainer, theirs, rng)


@pytest.mark.parametrize(
    "kind", ["before 1.6", "no prefix", "whole model parallel", "weights only"]
)
def test_the_layouts_that_are_about(torch, tmp_path, rng, kind):
    theirs, path = network(), tmp_path / "file.pth"
    state = theirs.state_dict()
    if kind == "before 1.6":
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)
    elif kind == "no prefix":
        torch.save({"arch": "alexnet", "epoch": 3, "state_dict": state}, path)
    elif kind == "whole model parallel":
        torch.save({"state_dict": {f"module.{name}": t for name, t in state.items()}}, path)
    else:
        torch.save(state, path)
    import_checkpoint(path, tmp_path / "run")
    assert_same_logits(load_network(tmp_path / "run" / "model" / "network.keras"), theirs, rng)


def test_strings_of_python_2_are_read(torch, tmp_path):
    """The published files were written by Python 2, whose pickles hold byte strings as names."""
    state = {"features.0.weight": torch.ones(2)}
    torch.save({"state_dict": state}, tmp_path / "3.pth", _use_new_zipfile_serialization=False)
    as_unicode = b"X" + len(b"features.0.weight").to_bytes(4, "little") + b"features.0.weight"
    as_bytes = b"U" + bytes([len(b"features.0.weight")]) + b"features.0.weight"
    content = (tmp_path / "3.pth").read_bytes()
    assert content.count(as_unicode) == 1
    (tmp_path / "2.pth").write_bytes(content.replace(as_unicode, as_bytes))
    with pytest.raises(InputError, match=r"features\.0\.bias is missing"):
        import_checkpoint(tmp_path / "2.pth", tmp_path / "run")


def test_an_exported_run_is_a_published_file(torch, imported, tmp_path, rng):
    run, theirs = imported
    export_checkpoint(run, tmp_path / "weights.pth")
    content = torch.load(tmp_path / "weights.pth", weights_only=True)
    assert (content["epoch"], content["arch"]) == (7, "alexnet")
    other = torch_networks.build("alexnet", SIZE, CLUSTERS, width=WIDTH, seed=1)
    other.features = torch.nn.DataParallel(other.features)
    named = [name for name in other.state_dict() if "num_batches" not in name]
    assert sorted(content["state_dict"]) == sorted(named)
    assert "features.module.4.weight" in named
    other.load_state_dict(content["state_dict"], strict=True)
    images = rng.integers(0, 256, (2, SIZE, SIZE, 3), dtype="uint8")
    np.testing.assert_array_equal(logits_of(other, images), logits_of(theirs, images))


def test_a_trained_run_there_and_back(torch, tmp_path, rng):
    images, _ = textures.textures(8, size=SIZE)
    np.savez(tmp_path / "images.npz", images=images)
    config = TrainingConfig.from_arguments(
        f"--arch=alexnet --image_size=100 --width={WIDTH} --fc_init=scaled --num_clusters=4 "
        f"--pca_dim=8 --epochs=1 --batch_size=16 --crop_min_area=0.5 --sobel=false "
        f"--data_dir={tmp_path}/images.npz --run_dir={tmp_path}/run".split()
    )
    config.validate()
    run = train(config)
    assert np.isfinite(run.read_metrics()[0]["loss"])
    checkpoint = export_checkpoint(run.path, tmp_path / "weights.pth.tar")
    assert checkpoint == run.newest_checkpoints()[0]
    # The weights tell 96 pixels, the next multiple of 32, unless told better.
    again = import_checkpoint(tmp_path / "weights.pth.tar", tmp_path / "again", image_size=100)
    assert (again.image_size, again.sobel, again.num_clusters) == (100, False, 4)
    first, second = (
        load_network(folder / "model" / "network.keras")
        for folder in (run.path, tmp_path / "again")
    )
    for a, b in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


# ---------------------------------------------------------------------- what a run is good for


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    images, labels = textures.textures(6, size=SIZE)
    textures.write_folders(folder, images, labels)
    return folder


def test_an_imported_run_is_evaluated_on_images_that_are_given(imported, labelled):
    run = imported[0]
    with pytest.raises(InputError, match="no images of its own"):
        evaluate(EvaluationConfig(run_dir=str(run)))
    report = evaluate(EvaluationConfig(str(run), data_dir=str(labelled), baseline=""))
    assert list(report.rows) == ["trained"]


def test_an_imported_run_is_exported(imported, tmp_path):
    version = export(str(imported[0]), str(tmp_path / "exported"))
    assert (version / "saved_model.pb").exists()


def test_an_imported_run_has_no_clusters_to_assign(imported, labelled, tmp_path):
    out = tmp_path / "clusters.csv"
    with pytest.raises(InputError, match="The run has no clusters.*whitening nor centroids"):
        write_clusters(str(imported[0]), str(labelled), str(out), max_bad_fraction=0, batch_size=8)
    assert not out.exists()


def test_an_imported_run_is_not_trained_on(imported, labelled):
    run = RunDirectory(imported[0])
    config = dataclasses.replace(run.config(), data_dir=str(labelled))
    with pytest.raises(InputError, match="imported weights alone"):
        train(config)
    with pytest.raises(InputError, match="weights alone"):
        load_checkpoint(run.newest_checkpoints()[0], build_trainer(config))


# ------------------------------------------------------------------------------- bad input


class Code:
    """What a pickle can make its reader call."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("format_", ["zip", "before 1.6", "plain pickle"])
def test_code_in_a_file_is_not_executed(torch, tmp_path, format_):
    marker, path = tmp_path / "executed", tmp_path / "hostile.pth.tar"
    content = {"arch": "alexnet", "state_dict": network().state_dict(), "epoch": Code(marker)}
    if format_ == "plain pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=format_ == "zip")
    with pytest.raises(InputError, match="cannot be read.*code in it is not executed") as error:
        import_checkpoint(path, tmp_path / "run")
    assert "weights_only" not in str(error.value)
    if format_ != "plain pickle":
        assert "posix.system" in str(error.value)
    assert not marker.exists() and not (tmp_path / "run").exists()
    # The file is what it is said to be: a reader that trusts it runs the code.
    if format_ == "plain pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("new_format", [True, False])
def test_damaged_files(torch, tmp_path, rng, new_format):
    whole = tmp_path / "whole.pth"
    torch.save(
        {"arch": "alexnet", "state_dict": network().state_dict()},
        whole,
        _use_new_zipfile_serialization=new_format,
    )
    content, path = whole.read_bytes(), tmp_path / "damaged.pth"
    for length in (0, 1, 10, 500, 5000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError):
            import_checkpoint(path, tmp_path / "run")
    for _ in range(20):
        # In the first kilobytes stand the names and shapes; a changed weight need not show.
        changed = bytearray(content)
        for position in rng.integers(0, 3000, 20):
            changed[position] = rng.integers(256)
        path.write_bytes(changed)
        with pytest.raises(InputError):
            import_checkpoint(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_networks_and_other_things(torch, tmp_path):
    state = network().state_dict()
    huge = torch.zeros(1).expand(10**6, 10**6)
    cases = [
        ({"arch": "vgg16", "state_dict": state}, r"features\.3\.weight is missing.*arch is vgg16"),
        ({"arch": "resnet50", "state_dict": {"conv1.weight": torch.ones(2)}}, "resnet50"),
        ({"state_dict": {}}, r"features\.0\.weight is missing.*names no arch"),
        ({"state_dict": [1]}, "a list as state_dict"),
        ([1, 2], "with a list"),
        ({"state_dict": state | {"epochs": 5}}, "epochs is a int"),
        ({"state_dict": state | {"top_layer.weight": huge}}, "top_layer.weight is sparse or rep"),
        ({"state_dict": state | {"top_layer.weight": torch.ones(2).to_sparse()}}, "is sparse"),
        ({"state_dict": state | {"features.module.0.bias": torch.ones(6)}}, "Two tensors for one"),
        ({"state_dict": state | {"top_layer.weight": torch.ones(1, 256)}}, "at least 2 clusters"),
    ]
    for number, (content, message) in enumerate(cases):
        path = tmp_path / f"{number}.pth"
        torch.save(content, path)
        with pytest.raises(InputError, match=message) as error:
            import_checkpoint(path, tmp_path / "run")
        assert str(path) in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag", ["--fc_norm", "--head=cosine", "--projection=8"])
def test_networks_that_pytorchs_code_does_not_know(torch, tmp_path, flag):
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    TrainingConfig.from_arguments([f"--run_dir={run.path}", "--data_dir=x", flag]).save(run.flags)
    with pytest.raises(InputError, match=f"another classifier than the published.*{flag}"):
        export_checkpoint(run.path, tmp_path / "out.pth")


def test_a_missing_file(torch, tmp_path):
    with pytest.raises(InputError, match="no.pth"):
        import_checkpoint(tmp_path / "no.pth", tmp_path / "run")


def test_a_wrong_image_size(torch, tmp_path):
    path = published_file(tmp_path / "file.pth", network("vgg16"), "vgg16")
    with pytest.raises(InputError, match=r"classifier\.0\.weight has shape \(256, 128\), not"):
        import_checkpoint(path, tmp_path / "run", image_size=96)
    with pytest.raises(InputError, match="multiple of 32"):
        import_checkpoint(path, tmp_path / "run", image_size=70)


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").touch()
    with pytest.raises(InputError, match="there already"):
        import_checkpoint(tmp_path / "any.pth", tmp_path / "run")
    with pytest.raises(InputError, match="the name of a folder"):
        import_checkpoint(tmp_path / "any.pth", tmp_path / "run.pth")
    (tmp_path / "weights.pth").touch()
    with pytest.raises(InputError, match="does not exist yet"):
        export_checkpoint(tmp_path / "run", tmp_path / "weights.pth")
    with pytest.raises(InputError, match="in a folder that does"):
        export_checkpoint(tmp_path / "run", tmp_path / "no" / "weights.pth")
    with pytest.raises(InputError, match=r"ends in \.pth, \.tar"):
        export_checkpoint(tmp_path / "run", tmp_path / "weights.npz")


def test_without_pytorch_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match="pip install -r requirements-torch.txt"):
        import_checkpoint(tmp_path / "any.pth", tmp_path / "run")
    with pytest.raises(InputError, match="pip install -r requirements-torch.txt"):
        export_checkpoint(tmp_path / "run", tmp_path / "weights.pth")
    requirements = pathlib.Path(__file__).parent.parent.parent / "requirements-torch.txt"
    assert "\ntorch==" in requirements.read_text()
