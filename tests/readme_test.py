"""Every command and every piece of Python in README.md and the tutorial, run on tiny data."""

import collections
import csv
import dataclasses
import json
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

import textures
from repository import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
SMALL = (
    "--image_size=32 --width=0.0625 --num_clusters=8 --pca_dim=16 --epochs=1 --batch_size=16 "
    "--reassign=1"
)


# What the page on Python trains with, and what the test does.
FIT = 'num_clusters=50, hours=0.5, run_dir="RUN"'
SMALL_FIT = (
    "num_clusters=5, preset=None, image_size=32, width=0.0625, epochs=1, batch_size=16, "
    'run_dir="FRESH", flags={"fc_init": "scaled", "pca_dim": 8}'
)


def blocks(language, text=README):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands_of(text):
    return [line for block in blocks("bash", text) for line in block.splitlines()]


COMMANDS = commands_of(README)
TUTORIAL = commands_of((REPOSITORY / "docs/tutorial.md").read_text())


def test_the_readme_has_commands():
    assert {"make quickstart", "make test"} <= set(COMMANDS)
    assert sum(command.startswith("python train.py") for command in COMMANDS) >= 3
    assert len(blocks("python")) >= 1


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make ")])
def test_make_knows_the_target(command):
    # Not run here: `make test` is this, and .ci/run runs `make quickstart`.
    subprocess.run([*command.split(), "--dry-run"], cwd=REPOSITORY, check=True, capture_output=True)


def test_links_lead_somewhere():
    text = re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)]+)\)", text)
    local = [link for link in links if not link.startswith("http")]
    assert local and all((REPOSITORY / link).exists() for link in local)


def test_it_is_short():
    # A page to be read through; tables and commands count.
    assert len(README.split()) <= 1200


def test_the_map_is_the_tree():
    names = re.findall(r"^  (\w+)/", README[README.index("## Map") :], re.MULTILINE)
    names += re.findall(r"^  \w+/  (\w+)/", README, re.MULTILINE)
    folders = {path.parent.name for path in (REPOSITORY / "dc_keras").glob("*/__init__.py")}
    assert set(names) == folders


def test_flags_that_are_named_exist():
    from dc_keras import config as configs

    known = {
        name
        for config in vars(configs).values()
        if dataclasses.is_dataclass(config)
        for name in config.__dataclass_fields__
    } | {"flagfile", "help", "logdir", "preset"}
    named = set(re.findall(r"--([a-z_]+)", README))
    assert named and named <= known, named - known


def with_places(command, places):
    words = shlex.split(command)
    for name, place in places.items():
        words = [re.sub(rf"\b{name}\b", str(place), word) for word in words]
    return words


def run(words):
    if words[0] == "python":
        words[0] = sys.executable
    elif words[0] == "tensorboard":
        words[0] = str(pathlib.Path(sys.executable).parent / "tensorboard")
        words.append("--inspect")  # reads the files and ends, instead of serving them
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_all_commands_in_their_order(tmp_path, torch):
    images, labels = textures.textures(20)
    textures.write_folders(tmp_path / "images", images, labels)
    places = {
        "LABELLED_TEST_IMAGES": tmp_path / "images",
        "OTHER_IMAGES": tmp_path / "images",
        "IMAGENET": tmp_path / "images",
        "IMAGES": tmp_path / "images",
        "EXPORTED": tmp_path / "exported",
        "IMPORTED": tmp_path / "imported",
        "PAPER_RUN": tmp_path / "run2",
        "weights.pth": tmp_path / "weights.pth",
        "RUN": tmp_path / "run",
        "SORTED": tmp_path / "sorted",
        "clusters.csv": tmp_path / "clusters.csv",
        "duplicates.csv": tmp_path / "duplicates.csv",
        "assigned.csv": tmp_path / "assigned.csv",
    }
    ran = 0
    for command in COMMANDS:
        if command.startswith("make "):
            continue
        words = with_places(command, places)
        if "imagenet" in command:  # another configuration needs another run directory
            words = [word.replace(str(places["RUN"]), str(tmp_path / "run2")) for word in words]
        if "--flagfile=configs/" in command:
            words += shlex.split(SMALL)
        run(words)
        ran += 1
    assert ran >= 7

    (tmp_path / "photo.jpg").write_bytes(next((tmp_path / "images").rglob("*.png")).read_bytes())
    (tmp_path / "other.jpg").write_bytes((tmp_path / "photo.jpg").read_bytes())
    # A training of its own: small, and in a folder of its own.
    places["FRESH"] = tmp_path / "fresh"
    pages = [(REPOSITORY / "docs" / name).read_text() for name in ("python.md", "serving.md")]
    for block in [block for page in (README, *pages) for block in blocks("python", page)]:
        code = block.replace(FIT, SMALL_FIT)
        for name in ("photo.jpg", "other.jpg"):
            code = code.replace(f'"{name}"', f'"{tmp_path / name}"')
        for name in ("EXPORTED", "IMAGES", "FRESH", "RUN"):
            code = re.sub(rf"\b{name}\b", str(places[name]), code)
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{block}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.long
def test_the_tutorial(tmp_path):
    images, labels = textures.textures(20)
    textures.write_folders(tmp_path / "photos", images, labels)
    names = ("RUN", "SORTED", "EXPORTED", "duplicates.csv", "clusters.csv", "new.csv")
    places = {name: tmp_path / name for name in (*names, "labels.json")}
    places |= dict.fromkeys(("NEW_PHOTOS", "PHOTOS"), tmp_path / "photos")
    for command in TUTORIAL:
        words = with_places(command, places)
        if " train " in command:
            words += shlex.split(SMALL)
        if " apply " in command:
            # As the page of the gallery writes them.
            gallery = json.loads((tmp_path / "RUN/gallery/gallery.json").read_text())["gallery"]
            with open(tmp_path / "RUN/model/clusters.csv", newline="") as file:
                sizes = collections.Counter(row["cluster"] for row in csv.DictReader(file))
            # Of the smallest all images may be outliers, which are sorted elsewhere.
            largest = int(sizes.most_common(1)[0][0])
            group = {"name": "stripes", "clusters": [largest], "images": [], "rejected": False}
            told = {"format": "dc_keras labels", "version": 1, "gallery": gallery}
            places["labels.json"].write_text(json.dumps(told | {"groups": [group]}))
        run(words)
    assert sum("stripes" in path.name for path in (tmp_path / "SORTED").iterdir()) == 1
    assert "stripes" in (tmp_path / "new.csv").read_text()
