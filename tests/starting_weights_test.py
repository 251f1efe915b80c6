"""Where weights to start from may be, how they are read, and what is said where that fails."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import torch_networks
from dc_keras.assembly import build_untrained
from dc_keras.errors import InputError
from dc_keras.pytorch.checkpoint import export_checkpoint, import_checkpoint
from dc_keras.runs.run_directory import RunDirectory
from dc_keras.runs.trained_model import NETWORK
from dc_keras.starting_weights import build_from_weights, read_arrays, starting_network
from tiny import tiny

ONE = tf.distribute.get_strategy()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run with weights of its own, and its network; nothing may be written into it."""
    run = RunDirectory(tmp_path_factory.mktemp("source") / "run")
    config = tiny("images", run.path, "--seed=1")
    run.path.mkdir()
    config.save(run.flags)
    network = build_untrained(config)
    run.save_weights(network, 3)
    run.model.mkdir()
    network.save(run.model / NETWORK)
    return run, network


@pytest.fixture
def copy(source, tmp_path):
    """A copy of that run, to be damaged."""
    return RunDirectory(shutil.copytree(source[0].path, tmp_path / "copy"))


def assert_weights(arrays, network):
    assert arrays.keys() == {variable.path for variable in network.weights}
    for variable in network.weights:
        np.testing.assert_array_equal(arrays[variable.path], variable.numpy())


@pytest.mark.parametrize("where", ["", "checkpoints/epoch-0003", f"model/{NETWORK}"])
def test_weights_of_a_run_a_checkpoint_and_a_file(source, where):
    run, network = source
    path, arrays = read_arrays(str(run.path / where))
    assert str(path).startswith(str(run.path / (where or "checkpoints/epoch-0003")))
    assert_weights(arrays, network)


def test_a_run_has_its_newest_weights_that_can_be_read(source, copy, warnings_told):
    newest = shutil.copytree(copy.checkpoints / "epoch-0003", copy.checkpoints / "epoch-0004")
    (newest / "weights.npz").write_bytes(b"cut off")
    path, arrays = read_arrays(str(copy.path))
    assert path.name == "epoch-0003" and len(warnings_told("epoch-0004 is damaged")) == 1
    assert_weights(arrays, source[1])


def test_the_network_of_a_run_without_checkpoints(source, copy):
    shutil.rmtree(copy.checkpoints)
    path, arrays = read_arrays(str(copy.path))
    assert path == copy.model / NETWORK
    assert_weights(arrays, source[1])


def test_weights_of_pytorch(torch, source, tmp_path):
    run, network = source
    export_checkpoint(run.path, tmp_path / "checkpoint.pth.tar")
    path, arrays = read_arrays(str(tmp_path / "checkpoint.pth.tar"))
    assert path == tmp_path / "checkpoint.pth.tar"
    assert_weights(arrays, network)


def test_weights_that_were_imported(torch, tmp_path):
    """As published: an AlexNet in PyTorch, here on other images and with another classifier."""
    theirs = torch_networks.build("alexnet", 64, 9, width=0.0625)
    torch.save({"epoch": 7, "arch": "alexnet", "state_dict": theirs.state_dict()}, tmp_path / "in")
    import_checkpoint(tmp_path / "in", tmp_path / "imported")
    flags = ["--arch=alexnet", "--image_size=64", f"--init_from={tmp_path}/imported"]
    alike = build_from_weights(tiny("images", tmp_path / "run", *flags), ONE)
    assert alike.told == (
        "Start:    convolutions and their batch norm, fully connected layers from "
        f"{tmp_path}/imported/checkpoints/epoch-0007\n          random: head"
    )
    np.testing.assert_array_equal(
        alike.network.get_layer("conv1").bias, theirs.features[0].bias.detach()
    )
    other = build_from_weights(tiny("images", tmp_path / "run", *flags, "--fc_norm"), ONE)
    assert other.told.endswith(
        "random: fc6_linear, fc6, fc7_linear, fc7, head, since the weights are of --fc_norm=false"
    )


def test_on_two_replicas(source, tmp_path, two_devices):
    run, theirs = source
    strategy = tf.distribute.MirroredStrategy(two_devices)
    config = tiny("images", tmp_path / "run", f"--init_from={run.path}")
    network = build_from_weights(config, strategy).network
    kernel = network.get_layer("conv1_1").kernel
    for value in strategy.experimental_local_results(kernel.value):
        np.testing.assert_array_equal(value, theirs.get_layer("conv1_1").kernel)


# ------------------------------------------------------------------------- when they are read


def test_random_weights_are_not_told_of(tmp_path):
    started = starting_network(
        tiny("images", tmp_path / "run"), RunDirectory(tmp_path / "run"), ONE
    )
    assert (started.network, started.told) == (None, "")


def test_a_run_that_goes_on_does_not_read_them(source, tmp_path):
    run, _ = source
    config = tiny("images", run.path, f"--init_from={tmp_path}/gone")
    assert starting_network(config, run, ONE).network is None
    # One of its own checkpoints is no contradiction.
    config = tiny("images", run.path, "--init_from=gone", f"--resume={run.checkpoints}/epoch-0003")
    assert starting_network(config, run, ONE).network is None


def test_a_run_does_not_begin_with_a_checkpoint_and_with_weights(source, tmp_path):
    run, _ = source
    flags = [f"--resume={run.checkpoints}/epoch-0003", f"--init_from={run.path}"]
    config = tiny("images", tmp_path / "run", *flags)
    with pytest.raises(InputError, match="and not with both.*--resume=.*Leave --init_from out"):
        starting_network(config, RunDirectory(tmp_path / "run"), ONE)


# ------------------------------------------------------------------------------- bad input


def test_the_message_tells_where_weights_that_do_not_fit_are_from(source, tmp_path):
    run, _ = source
    config = tiny("images", tmp_path / "run", "--width=0.125", f"--init_from={run.path}")
    with pytest.raises(InputError, match=r"of --width=0\.0625\. They are from.*epoch-0003\.$"):
        build_from_weights(config, ONE)


def foreign_network(run):
    keras.Sequential([keras.Input([4]), keras.layers.Dense(2)]).save(run.path / "a.keras")
    return run.path / "a.keras"


def damaged_network(run):
    content = bytearray((run.model / NETWORK).read_bytes())
    content[len(content) // 2] ^= 255
    (run.model / NETWORK).write_bytes(content)
    return run.model / NETWORK


def text_file(name):
    def write(run):
        (run.path / name).write_text("no weights")
        return run.path / name

    return write


def run_without_weights(run):
    shutil.rmtree(run.checkpoints)
    shutil.rmtree(run.model)
    return run.path


def damaged_run(run):
    (run.checkpoints / "epoch-0003" / "weights.npz").write_bytes(b"")
    return run.path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda run: run.path / "gone.pth", "nothing to start from.*gone.pth, where nothing is"),
        (
            lambda run: run.path.parent,
            "in this folder.*which holds no run. Expected the folder of a run, ",
        ),
        (run_without_weights, "a run without a checkpoint"),
        (damaged_run, "No checkpoint of the run can be read"),
        (foreign_network, "not those of a network of this program. Received: dense"),
        (damaged_network, "The network cannot be read.*Get it again"),
        (text_file("a.keras"), "The network cannot be read"),
        (text_file("a.h5"), "Weights cannot be read from this file.*Expected the folder of a run"),
    ],
    ids=[
        *("nothing", "folder", "no weights", "damaged run", "another program's", "damaged", "text"),
        "another kind",
    ],
)
def test_what_holds_no_weights_is_refused(copy, tmp_path, make, message):
    config = tiny("images", tmp_path / "new", f"--init_from={make(copy)}")
    with pytest.raises(InputError, match=message):
        starting_network(config, RunDirectory(config.run_dir), ONE)


def test_a_damaged_file_of_pytorch(torch, copy):
    with pytest.raises(InputError, match="Expected a checkpoint of PyTorch"):
        read_arrays(str(text_file("a.pth")(copy)))
