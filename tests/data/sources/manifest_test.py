"""The listing of a data set as a file: every name stays what it is."""

import json
import os
import subprocess

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from dc_keras.data.sources.folder import FolderSource
from dc_keras.data.sources.manifest import positions_of, read_manifest, write_manifest
from dc_keras.errors import InputError

# What a Linux file name can be: any bytes but NUL, decoded as os.listdir does.
NAMES = st.binary(min_size=1, max_size=12).filter(lambda b: b"\0" not in b).map(os.fsdecode)


@hypothesis.given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=5))
@hypothesis.settings(max_examples=100)
def test_the_manifest_keeps_every_name(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("manifest") / "manifest.csv"
    names = [name for name, _ in entries]
    class_names = tuple(sorted({label for _, label in entries}))
    labels = np.array([class_names.index(label) for _, label in entries], np.int32)
    write_manifest(FolderSource("/data", names, labels, class_names), path)
    manifest = read_manifest(path)
    assert manifest.names == tuple(names)
    assert manifest.labels == tuple(label for _, label in entries)


def test_the_manifest_as_text(tmp_path):
    path = tmp_path / "manifest.csv"
    write_manifest(FolderSource("/data", ["a, b.png", "c.png"]), path)
    assert path.read_bytes() == b'index,path,label\r\n0,"a, b.png",\r\n1,c.png,\r\n'


@pytest.mark.parametrize(
    "content",
    ["", "path,index\r\n", "index,path,label\r\n1,a.png,\r\n", 'index,path,label\r\n0,"a.png'],
)
def test_what_is_no_manifest_is_an_input_error(tmp_path, content):
    path = tmp_path / "manifest.csv"
    path.write_text(content)
    with pytest.raises(InputError, match="manifest cannot be read"):
        read_manifest(path)


def test_a_manifest_that_is_gone_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="manifest cannot be read"):
        read_manifest(tmp_path / "gone.csv")


@pytest.fixture
def listed(tmp_path):
    """The manifest of three images."""
    path = tmp_path / "manifest.csv"
    write_manifest(FolderSource("/data", ["a.png", "b.png", "c.png"]), path)
    return path


def test_the_seal_tells_rows_and_checksum(listed):
    seal = json.loads(listed.with_name("manifest.json").read_text())
    told = subprocess.check_output(["sha256sum", listed], text=True)
    assert seal == {"rows": 3, "sha256": told.split()[0]}


def test_a_manifest_that_was_cut_between_rows_is_refused(listed):
    listed.write_bytes(b"".join(listed.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match="manifest.csv' with 2 of 3 images.*from a backup"):
        read_manifest(listed)


def test_a_manifest_with_another_name_in_it_is_refused(listed):
    listed.write_bytes(listed.read_bytes().replace(b"b.png", b"d.png"))
    with pytest.raises(InputError, match="not as it was written.* with another checksum"):
        read_manifest(listed)


@pytest.mark.parametrize("content", ["", "[]", "3", '{"rows": 3}', '{"rows": {}, "sha256": 1}'])
def test_a_damaged_seal_is_refused(listed, content):
    listed.with_name("manifest.json").write_text(content)
    with pytest.raises(InputError, match="seal of the manifest cannot be read.*manifest.json"):
        read_manifest(listed)


def test_a_manifest_of_an_older_version_has_no_seal(listed):
    listed.with_name("manifest.json").unlink()
    assert read_manifest(listed).names == ("a.png", "b.png", "c.png")


def test_images_are_found_again_by_their_names():
    source = FolderSource("/data", ["a.png", "b.png", "c.png"])
    positions, gone = positions_of(["c.png", "x.png", "a.png", "y.png"], source)
    assert positions.tolist() == [2, 0] and positions.dtype == np.int64
    assert gone == ["x.png", "y.png"]
