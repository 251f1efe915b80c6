"""Names of clusters: kept with a run as long as its clusters are those that were named."""

import numpy as np
import pytest

from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.manifest import write_manifest
from dc_keras.errors import InputError
from dc_keras.exploring.cluster_names import (
    load_names,
    names_file,
    remove_names,
    save_names,
)
from dc_keras.exploring.run_images import final_clusters
from dc_keras.runs.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path):
    """What a finished run has of its clusters: three images in two of three clusters."""
    run = RunDirectory(tmp_path)
    run.model.mkdir()
    images = np.zeros((3, 4, 4, 3), np.uint8)
    write_manifest(ArraySource(images, ["a,b.png", "=c.png", "d\udce9.png"]), run.manifest)
    np.save(run.model / "centroids.npy", np.zeros((3, 2), np.float32))
    write_clusters(run, [0, 2, 2])
    return run


def write_clusters(run, clusters):
    names = ['"a,b.png"', "'=c.png", "d.png"]
    rows = [f"{i},{name},{c}\n" for i, (name, c) in enumerate(zip(names, clusters, strict=True))]
    (run.model / "clusters.csv").write_text("index,path,cluster\n" + "".join(rows))


def test_names_are_kept_until_they_are_taken_back(run):
    assert load_names(run) == ()
    save_names(run, ["cats", "", "dogs 🐶"])
    assert load_names(run) == ("cats", "", "dogs 🐶")
    remove_names(run)
    assert load_names(run) == ()


def test_names_of_clusters_that_are_gone_are_left_out(run, caplog):
    save_names(run, ["cats", "", "dogs"])
    write_clusters(run, [0, 2, 1])
    assert load_names(run) == ()
    assert "names clusters that are gone" in caplog.text


@pytest.mark.parametrize("content", ["", "[]", '{"format": "dc_keras names", "names": [1]}'])
def test_a_damaged_file_of_names_is_told(run, content):
    names_file(run).write_text(content)
    with pytest.raises(InputError, match="names of the clusters are damaged"):
        load_names(run)


def test_clusters_of_the_run_are_read(run):
    _, clusters, num_clusters = final_clusters(run)
    assert (clusters.tolist(), num_clusters) == ([0, 2, 2], 3)
    write_clusters(run, [0, 3, 2])
    with pytest.raises(InputError, match="clusters that are not among 3"):
        final_clusters(run)
    (run.model / "centroids.npy").unlink()
    with pytest.raises(InputError, match="no final clusters"):
        final_clusters(run)
