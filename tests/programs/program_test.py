"""The programs as a user starts them: train, evaluate, export, assign, each in its own process."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest

import textures
from repository import REPOSITORY
from tiny import FLAGS

# At the published learning rate so small a network collapses, and the run says so.
TINY = [*FLAGS, "--num_clusters=8", "--learning_rate=0.01"]


def run(*arguments, expect=0):
    """Runs a program of the repository and returns its output and errors."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Class folders of textures, with one file that is no image."""
    folder = tmp_path_factory.mktemp("textures")
    images, labels = textures.textures(30)
    textures.write_folders(folder, images, labels)
    (folder / "fine" / "broken.png").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """A finished run of two epochs: its folder and what it printed."""
    run_dir = tmp_path_factory.mktemp("runs") / "run"
    flags = [*TINY, "--gallery", f"--data_dir={folder}", f"--run_dir={run_dir}"]
    return run_dir, *run("train.py", *flags)


def test_training_says_what_it_does(trained):
    run_dir, out, err = trained
    for text in (
        "Left out images that cannot be read: 1, listed in ",
        "Images:   120 from",
        "4 classes, used for the log alone",
        "epoch   loss smallest largest views rank features   pca kmeans   train     left",
        "  2/2 ",
        f"python evaluate.py --run_dir={run_dir}",
        f"Gallery of 120 images: open {run_dir}/gallery/index.html",
    ):
        assert text in out, out
    # Neither TensorFlow's nor Faiss's notes on this machine, nor warnings.
    assert err == "", err


@pytest.mark.slow
def test_labels_of_the_gallery_name_clusters_of_new_images(trained, folder, tmp_path):
    run_dir = trained[0]
    gallery = json.loads((run_dir / "gallery/gallery.json").read_text())["gallery"]
    group = {"name": "grey", "clusters": list(range(8)), "images": [], "rejected": False}
    labels = {"format": "dc_keras labels", "version": 1, "gallery": gallery, "groups": [group]}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    run("-m", "dc_keras", "apply", tmp_path / "labels.json", f"--run_dir={run_dir}")
    flags = [f"--run_dir={run_dir}", f"--data_dir={folder}", "--max_bad_fraction=0.1"]
    try:
        run("-m", "dc_keras", "assign", *flags, f"--out={tmp_path}/new.csv")
    finally:
        run("-m", "dc_keras", "apply", "--undo", f"--run_dir={run_dir}")
    with open(tmp_path / "new.csv", newline="") as file:
        assert {row["name"] for row in csv.DictReader(file)} == {"grey"}


@pytest.mark.slow
@pytest.mark.long
def test_a_run_becomes_a_table_a_list_of_copies_and_folders(trained, folder, tmp_path):
    known = f"--run_dir={trained[0]}"
    out, _ = run("-m", "dc_keras", "table", known, f"--out={tmp_path}/t.csv")
    assert out == f"120 images: {tmp_path}/t.csv\n"
    out, _ = run("-m", "dc_keras", "duplicates", known, f"--out={tmp_path}/d.csv")
    assert out.startswith("Images with a copy, of 120: 0 same bytes, 0 same pixels, ")
    sort = ("-m", "dc_keras", "sort", f"--out={tmp_path}/sorted")
    out, _ = run(*sort, known, "--dry_run")
    assert "Nothing was done" in out and not (tmp_path / "sorted").exists()
    run(*sort, known)
    assert len(list((tmp_path / "sorted").rglob("*.png"))) == 120
    _, err = run(*sort, known, expect=2)
    assert "were sorted into this folder before" in err
    out, _ = run(*sort, "--undo")
    assert out == "As before: 120 images\n" and not (tmp_path / "sorted").exists()
    assert len(list(folder.rglob("*.png"))) == 121


def test_the_bad_file_is_listed(trained):
    run_dir = trained[0]
    assert "fine/broken.png" in (run_dir / "unreadable.csv").read_text()
    assert "broken" not in (run_dir / "manifest.csv").read_text()


def test_every_epoch_is_recorded(trained):
    run_dir = trained[0]
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2]
    assert all(record["cluster"]["empty"] == 0 for record in records)
    assigned = np.load(run_dir / "assignments" / "epoch-0002.npy")
    assert assigned.dtype == np.uint8 and len(assigned) == 120 and len(np.unique(assigned)) == 8


@pytest.mark.slow
@pytest.mark.long
def test_its_flagfile_repeats_the_run_elsewhere(trained, tmp_path):
    run_dir = trained[0]
    run("train.py", f"--flagfile={run_dir}/flags.cfg", f"--run_dir={tmp_path}/again", "--epochs=1")
    np.testing.assert_array_equal(
        np.load(run_dir / "assignments" / "epoch-0001.npy"),
        np.load(tmp_path / "again" / "assignments" / "epoch-0001.npy"),
    )


def test_a_finished_run_is_left_alone(trained):
    run_dir = trained[0]
    before = {path: path.stat().st_mtime_ns for path in (run_dir / "model").iterdir()}
    out, _ = run("train.py", f"--flagfile={run_dir}/flags.cfg")
    assert "The run is complete." in out
    assert before == {path: path.stat().st_mtime_ns for path in (run_dir / "model").iterdir()}


def test_evaluation(trained):
    run_dir = trained[0]
    out, err = run("evaluate.py", f"--run_dir={run_dir}", "--baseline=random,pixels,supervised")
    assert err == "", err
    report = json.loads((run_dir / "evaluation" / "report.json").read_text())
    assert list(report["rows"]) == [
        "trained", "random", "random, calibrated", "pixels", "supervised"
    ]  # fmt: skip
    for name, figures in report["rows"].items():
        assert name in out
        for figure in ("nmi", "ari", "accuracy", "purity", "knn_fc7", "probe_fc7"):
            assert -1 <= figures[figure] <= 1
        assert ("probe_conv5" in figures) == (name != "pixels")
    assert report["rows"]["trained"] != report["rows"]["random"]
    assert (report["train_images"], report["test_images"], report["classes"]) == (96, 24, 4)
    assert "linear probe" in (run_dir / "evaluation" / "report.md").read_text()


@pytest.mark.slow
@pytest.mark.long
def test_evaluation_on_other_images(trained, tmp_path):
    images, labels = textures.textures(6, seed=5)
    textures.write_folders(tmp_path, images, labels)
    run("evaluate.py", f"--run_dir={trained[0]}", f"--test_dir={tmp_path}", "--baseline=")
    report = json.loads((trained[0] / "evaluation" / "report.json").read_text())
    assert (report["train_images"], report["test_images"]) == (120, 24)
    assert list(report["rows"]) == ["trained"]


@pytest.mark.slow
@pytest.mark.long
def test_evaluation_on_two_replicas_gives_the_same_figures(trained):
    reports = []
    for flags in (["--strategy=one"], ["--strategy=mirrored", "--virtual_devices=2"]):
        run("evaluate.py", f"--run_dir={trained[0]}", *flags)
        reports.append(json.loads((trained[0] / "evaluation" / "report.json").read_text())["rows"])
    one, mirrored = reports
    for network in ("trained", "random"):
        for figure in ("knn_conv5", "knn_fc7", "probe_conv5", "probe_fc7"):
            # Features agree to rounding, which may turn one of the 24 test images.
            assert abs(one[network][figure] - mirrored[network][figure]) <= 1 / 24 + 1e-9


def test_evaluation_without_labels(trained, tmp_path):
    np.savez(tmp_path / "images.npz", images=textures.textures(4)[0])
    _, err = run(
        "evaluate.py", f"--run_dir={trained[0]}", f"--data_dir={tmp_path}/images.npz", expect=2
    )
    assert "evaluate.py: The images have no labels to compare with." in err


# Run by another Python, in a folder from which this package is not found.
_CLIENT = """
import sys, numpy as np, tensorflow as tf
folder, images, out = sys.argv[1:]
model = tf.saved_model.load(folder)
encoded = [open(path, "rb").read() for path in images.split(",")]
signature = model.signatures["serving_default"]
all_at_once = signature(image_bytes=tf.constant(encoded))["features"].numpy()
one = signature(image_bytes=tf.constant(encoded[:1]))["features"].numpy()
pixels = np.stack([tf.io.decode_image(data, channels=3).numpy() for data in encoded])
from_pixels = model.signatures["features_uint8"](images=tf.constant(pixels))["features"].numpy()
assert not any(name.split(".")[0] == "dc_keras" for name in sys.modules)
np.savez(out, all_at_once=all_at_once, one=one, from_pixels=from_pixels)
"""


def test_export_serves_the_features_of_clustering(trained, folder, tmp_path):
    run_dir = trained[0]
    out, err = run("-m", "dc_keras", "export", f"--run_dir={run_dir}", f"--out={tmp_path}/m")
    assert f"Exported to {tmp_path}/m/1" in out and err == ""
    paths = sorted((folder / "ridge").glob("*.png"))[:5]
    client = subprocess.run(
        [
            sys.executable, "-c", _CLIENT, str(tmp_path / "m" / "1"),
            ",".join(map(str, paths)), str(tmp_path / "features.npz"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    assert client.returncode == 0, client.stderr
    served = np.load(tmp_path / "features.npz")

    from dc_keras.data.batches.ordered import ordered_batches
    from dc_keras.data.sources.open import open_source
    from dc_keras.models.feature_extractor import feature_model
    from dc_keras.models.saved_network import load_network

    source = open_source(str(folder))
    indices = [source.names.index(f"ridge/{path.name}") for path in paths]
    network = load_network(run_dir / "model" / "network.keras")
    images = next(iter(ordered_batches(source, np.array(indices), image_size=32, batch_size=5)))
    expected = feature_model(network, "fc7")(images, training=False).numpy()
    # Float32 sums in another order; features are of size 1.
    scale = np.abs(expected).max()
    for name, rows in (("all_at_once", 5), ("from_pixels", 5), ("one", 1)):
        assert served[name].dtype == np.float32 and served[name].shape == (rows, 256)
        np.testing.assert_allclose(served[name], expected[:rows], atol=1e-5 * scale, err_msg=name)


def test_export_numbers_its_versions(trained, tmp_path):
    (tmp_path / "7").mkdir()
    run("-m", "dc_keras", "export", f"--run_dir={trained[0]}", f"--out={tmp_path}")
    assert (tmp_path / "8" / "saved_model.pb").exists()


def test_assigning_the_training_images_gives_their_clusters(trained, folder, tmp_path):
    run_dir = trained[0]
    out, err = run(
        "-m", "dc_keras", "assign", f"--run_dir={run_dir}", f"--data_dir={folder}",
        f"--out={tmp_path}/clusters.csv",
    )  # fmt: skip
    told = "Assigned 120 images, [1-9] of them outliers, left out 1 unreadable"
    assert re.search(told, out) and err == ""
    with open(tmp_path / "clusters.csv") as file:
        assigned = {row["path"]: row for row in csv.DictReader(file)}
    with open(run_dir / "model" / "clusters.csv") as file:
        final = {row["path"]: row["cluster"] for row in csv.DictReader(file)}
    agreeing = [assigned[path]["cluster"] == cluster for path, cluster in final.items()]
    # The repair of an empty cluster moves points that a nearest-centroid search may put back.
    assert len(agreeing) == 120 and np.mean(agreeing) > 0.95
    assert all(0 <= float(row["distance"]) < 2 for row in assigned.values())


@pytest.mark.parametrize(
    ("program", "arguments", "message"),
    [
        ("train.py", ["--data_dir=no/such", "--run_dir=RUN", *TINY], "no/such"),
        ("train.py", ["--data_dir=EMPTY", "--run_dir=RUN", *TINY], "no images in"),
        ("train.py", ["--data_dir=DATA", "--run_dir=DONE", *TINY, "--seed=1"], "--seed: 31 in the"),
        ("evaluate.py", ["--run_dir=EMPTY"], "There is no run in this folder"),
        ("-m dc_keras export", ["--run_dir=EMPTY", "--out=RUN"], "There is no run in this"),
        (
            "-m dc_keras assign",
            ["--run_dir=EMPTY", "--data_dir=DATA", "--out=RUN"],
            "There is no run in this folder",
        ),
    ],
)  # fmt: skip
def test_bad_input_ends_with_2_and_writes_nothing(
    trained, folder, tmp_path, program, arguments, message
):
    places = {"EMPTY": tmp_path / "empty", "RUN": tmp_path / "run"}
    places |= {"DATA": folder, "DONE": trained[0]}
    places["EMPTY"].mkdir()
    for name, place in places.items():
        arguments = [argument.replace(f"={name}", f"={place}") for argument in arguments]
    # A file beyond the default limit of bad ones is not what is tested here.
    if program != "evaluate.py" and "export" not in program:
        arguments.append("--max_bad_fraction=0.5")
    _, err = run(*program.split(), *arguments, expect=2)
    assert message in err and "Traceback" not in err
    assert not places["RUN"].exists() and not any(places["EMPTY"].iterdir())
