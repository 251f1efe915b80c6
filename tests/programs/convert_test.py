"""PyTorch's weights to a run and back, as a user starts it."""

import subprocess
import sys

import pytest

import torch_networks
from dc_keras.config import ConvertConfig
from dc_keras.errors import InputError
from dc_keras.programs import convert
from repository import REPOSITORY


def converted(*arguments):
    """Runs the program, without messages, and returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "dc_keras", "convert", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_there_and_back(torch, tmp_path):
    theirs = torch_networks.build("alexnet", 64, 9, width=0.0625)
    torch.save({"epoch": 7, "arch": "alexnet", "state_dict": theirs.state_dict()}, tmp_path / "in")
    told = converted(tmp_path / "in", tmp_path / "run")
    assert "Imported alexnet behind Sobel, width 0.0625, 64 px, 9 clusters" in told
    assert f"--init_from={tmp_path}/run --arch=alexnet --width=0.0625 --sobel=true" in told
    assert f"to {tmp_path}/out.pth" in converted(tmp_path / "run", tmp_path / "out.pth")
    assert len(torch.load(tmp_path / "out.pth", weights_only=True)["state_dict"]) == 4 + 5 * 6 + 6


def test_arguments_are_taken_by_their_place():
    config = ConvertConfig.from_arguments(["in.pth", "out", "--image_size=240"])
    config.validate()
    assert config == ConvertConfig(source="in.pth", out="out", image_size=240)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "IN and OUT must be given"),
        (["in.pth"], "^OUT must be given"),
        (["in.pth", "out", "more"], "Received: more. Expected only IN OUT --name=value"),
        (["in.pth", "out", "--image_size=5"], "--image_size. Received: 5"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        ConvertConfig.from_arguments(arguments).validate()


def test_an_image_size_that_would_be_ignored_is_refused(tmp_path):
    with pytest.raises(InputError, match="--image_size would be ignored"):
        convert.main(ConvertConfig(str(tmp_path), "out.pth", image_size=224))
