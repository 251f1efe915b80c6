"""PyTorch's files as runs and back; what such a file must not be able to do."""

import dataclasses
import os
import pickle
import sys

import numpy as np
import pytest

import textures
import torch_networks
from dc_keras.assembly import Schedule, build_trainer
from dc_keras.config import EvaluationConfig, TrainingConfig
from dc_keras.errors import InputError
from dc_keras.evaluation.evaluate import evaluate
from dc_keras.models.saved_network import load_network
from dc_keras.pytorch.checkpoint import export_checkpoint, import_checkpoint
from dc_keras.runs.checkpoints import load_checkpoint
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.serving.assigned_images import write_clusters
from dc_keras.serving.export import export
from dc_keras.training.loop import train
from repository import REPOSITORY
from tiny import tiny

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
    assert_same_logits(load_network(run.model / "network.keras"), theirs, rng)
    trainer = build_trainer(config, Schedule(epochs=1, steps=1))
    run.load_weights(trainer)
    assert_same_logits(trainer, theirs, rng)


def test_an_imported_run_has_the_settings_of_the_file(torch, tmp_path):
    path = published_file(tmp_path / "checkpoint.pth.tar", network("vgg16"), "vgg16")
    config = import_checkpoint(path, tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    assert run.config() == config
    assert (config.arch, config.image_size, config.num_clusters) == ("vgg16", SIZE, CLUSTERS)
    assert (config.width, config.sobel, config.epochs) == (WIDTH, True, 7)
    assert [path.name for path in run.newest_checkpoints()] == ["epoch-0007"]


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


def test_a_trained_run_there_and_back(torch, tmp_path):
    images, _ = textures.textures(8, size=SIZE)
    np.savez(tmp_path / "images.npz", images=images)
    flags = ["--arch=alexnet", "--image_size=100", "--sobel=false", "--num_clusters=4"]
    config = tiny(tmp_path / "images.npz", tmp_path / "run", "--pca_dim=8", "--epochs=1", *flags)
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
    report = evaluate(EvaluationConfig(str(imported[0]), data_dir=str(labelled), baseline=""))
    assert list(report.rows) == ["trained"]


def test_an_imported_run_is_not_evaluated_without_images(imported):
    with pytest.raises(InputError, match="no images of its own"):
        evaluate(EvaluationConfig(run_dir=str(imported[0])))


@pytest.mark.slow
@pytest.mark.long
def test_an_imported_run_is_exported(imported, tmp_path):
    version = export(str(imported[0]), str(tmp_path / "exported"))
    assert (version / "saved_model.pb").exists()


def test_an_imported_run_has_no_clusters_to_assign(imported, labelled, tmp_path):
    out = tmp_path / "clusters.csv"
    with pytest.raises(InputError, match="The run has no clusters.*whitening nor centroids"):
        write_clusters(str(imported[0]), str(labelled), str(out), max_bad_fraction=0)
    assert not out.exists()


def test_an_imported_run_is_not_trained_on(imported, labelled):
    config = dataclasses.replace(RunDirectory(imported[0]).config(), data_dir=str(labelled))
    with pytest.raises(InputError, match="imported weights alone.*with --init_from="):
        train(config)


def test_no_training_goes_on_from_an_imported_checkpoint(imported):
    run = RunDirectory(imported[0])
    trainer = build_trainer(run.config(), Schedule(epochs=1, steps=1))
    with pytest.raises(InputError, match="weights alone"):
        load_checkpoint(run.newest_checkpoints()[0], trainer)


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


@pytest.fixture(params=["zip", "before 1.6"])
def good_file(request, torch, tmp_path):
    """The bytes of a checkpoint in either format."""
    content = {"arch": "alexnet", "state_dict": network().state_dict()}
    zipped = request.param == "zip"
    torch.save(content, tmp_path / "good.pth", _use_new_zipfile_serialization=zipped)
    return (tmp_path / "good.pth").read_bytes()


def assert_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError):
        import_checkpoint(path, path.parent / "run")
    assert not (path.parent / "run").exists()


def test_files_that_are_cut_off(good_file, tmp_path):
    for length in (0, 1, 10, 500, 5000, len(good_file) // 2, len(good_file) - 1):
        assert_refused(tmp_path / "cut_off.pth", good_file[:length])


def test_damaged_files(good_file, tmp_path, rng):
    for _ in range(20):
        # In the first kilobytes stand the names and shapes; a changed weight need not show.
        changed = bytearray(good_file)
        for position in rng.integers(0, 3000, 20):
            changed[position] = rng.integers(256)
        assert_refused(tmp_path / "damaged.pth", changed)


def with_tensor(name, make):
    """A checkpoint with another tensor by a name."""
    return lambda torch, state: {"state_dict": state | {name: make(torch)}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda torch, state: {"arch": "vgg16", "state_dict": state},
            r"features\.3\.weight is missing.*arch is vgg16",
        ),
        (
            lambda torch, state: {
                "arch": "resnet50",
                "state_dict": {"conv1.weight": torch.ones(2)},
            },
            "resnet50",
        ),
        (
            lambda torch, state: {"state_dict": {}},
            r"features\.0\.weight is missing.*names no arch",
        ),
        (lambda torch, state: {"state_dict": [1]}, "a list as state_dict"),
        (lambda torch, state: [1, 2], "with a list"),
        (lambda torch, state: {"state_dict": state | {"epochs": 5}}, "epochs is a int"),
        (
            with_tensor("top_layer.weight", lambda torch: torch.zeros(1).expand(10**6, 10**6)),
            "top_layer.weight is sparse or rep",
        ),
        (with_tensor("top_layer.weight", lambda torch: torch.ones(2).to_sparse()), "is sparse"),
        (
            with_tensor("features.module.0.bias", lambda torch: torch.ones(6)),
            "Two tensors for one",
        ),
        (
            with_tensor("top_layer.weight", lambda torch: torch.ones(1, 256)),
            "--num_clusters. Received: 1. Expected at least 2",
        ),
    ],
    ids=[
        *("another arch", "unknown arch", "empty", "list of weights", "list", "number"),
        *("huge", "sparse", "twice", "one cluster"),
    ],
)
def test_other_networks_and_other_things(torch, tmp_path, content, message):
    path = tmp_path / "other.pth"
    torch.save(content(torch, network().state_dict()), path)
    with pytest.raises(InputError, match=message) as error:
        import_checkpoint(path, tmp_path / "run")
    assert str(path) in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag", ["--fc_norm", "--head=cosine"])
def test_networks_that_pytorchs_code_does_not_know(torch, tmp_path, flag):
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    TrainingConfig.from_arguments([f"--run_dir={run.path}", "--data_dir=x", flag]).save(run.flags)
    with pytest.raises(InputError, match=f"other layers than the published.*{flag}"):
        export_checkpoint(run.path, tmp_path / "out.pth")


def test_a_missing_file(torch, tmp_path):
    with pytest.raises(InputError, match="no.pth"):
        import_checkpoint(tmp_path / "no.pth", tmp_path / "run")


@pytest.mark.parametrize(
    ("image_size", "message"),
    [
        (96, r"classifier\.0\.weight has shape \(256, 128\), not"),
        (70, "multiple of 32"),
    ],
)
def test_a_wrong_image_size(torch, tmp_path, image_size, message):
    path = published_file(tmp_path / "file.pth", network("vgg16"), "vgg16")
    with pytest.raises(InputError, match=message):
        import_checkpoint(path, tmp_path / "run", image_size=image_size)


def test_a_run_is_not_written_over(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").touch()
    with pytest.raises(InputError, match="there already"):
        import_checkpoint(tmp_path / "any.pth", tmp_path / "run")


def test_a_run_by_the_name_of_a_file_is_not_written(tmp_path):
    with pytest.raises(InputError, match="the name of a folder"):
        import_checkpoint(tmp_path / "any.pth", tmp_path / "run.pth")


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("taken.pth", "does not exist yet"),
        ("no/weights.pth", "in a folder that does"),
        ("weights.npz", r"ends in \.pth, \.tar"),
    ],
)
def test_places_where_no_file_is_written(tmp_path, out, message):
    (tmp_path / "taken.pth").touch()
    with pytest.raises(InputError, match=message):
        export_checkpoint(tmp_path / "run", tmp_path / out)


def test_without_pytorch_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match="pip install -r requirements-torch.txt"):
        import_checkpoint(tmp_path / "any.pth", tmp_path / "run")
    with pytest.raises(InputError, match="pip install -r requirements-torch.txt"):
        export_checkpoint(tmp_path / "run", tmp_path / "weights.pth")


def test_the_file_that_the_message_names_is_there():
    assert "\ntorch==" in (REPOSITORY / "requirements-torch.txt").read_text()
