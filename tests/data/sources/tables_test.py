"""Lists of images as --data_dir, and patterns of them."""

import pytest

from data_sets import loaded, write_folder, write_image
from dc_keras.data.sources.inspection import find_unreadable
from dc_keras.data.sources.open import open_source
from dc_keras.data.sources.tables import read_table
from dc_keras.errors import InputError


@pytest.fixture
def images(tmp_path):
    """Images elsewhere than the lists."""
    for name in ["a/1.png", "a/2", "b/3.png", "4.png"]:
        write_image(tmp_path / "images" / name)
    return tmp_path / "images"


def write(path, text):
    path.write_text(text)
    return str(path)


def test_a_text_names_an_image_a_line(images, tmp_path):
    path = write(tmp_path / "list.txt", f"images/b/3.png\n\n{images}/a/2\nimages/4.png\n")
    source = open_source(path)
    assert set(source.names) == {"images/b/3.png", f"{images}/a/2", "images/4.png"}
    assert source.labels is None
    assert loaded(source) == [(images / "4.png").read_bytes()] * 3
    assert find_unreadable(source, progress=False) == {}


def test_a_table_names_paths_and_labels(images, tmp_path):
    path = write(tmp_path / "list.csv", "path,label\nimages/4.png,z\nimages/a/1.png,y\n")
    source = open_source(path)
    labels = dict(zip(source.names, source.labels, strict=True))
    assert source.class_names == ("y", "z")
    assert labels == {"images/4.png": 1, "images/a/1.png": 0}
    assert open_source(path, labels="none").labels is None


def test_the_order_of_a_table_does_not_depend_on_its_labels(images, tmp_path):
    rows = ["images/a/1.png,x", "images/b/3.png,y"]
    orders = {
        open_source(write(tmp_path / "list.csv", "\n".join(listed))).names
        for listed in (rows, rows[::-1], [row[:-1] + "z" for row in rows])
    }
    assert len(orders) == 1


def test_images_of_a_list_in_folders_have_these_as_labels(images, tmp_path):
    path = write(tmp_path / "list.txt", "images/a/1.png\nimages/a/2\nimages/b/3.png\n")
    source = open_source(path)
    assert [source.class_names[label] for label in source.labels] == [
        name.split("/")[1] for name in source.names
    ]


def test_what_a_list_names_and_cannot_be_used_is_told(images, tmp_path):
    (images / "notes.txt").write_text("text")
    names = ["4.png", "gone.png", "gone", "notes.txt", "a", "./4.png", "4.png"]
    path = write(tmp_path / "list.txt", "\n".join(f"images/{name}" for name in names))
    source = open_source(path)
    assert source.names == ("images/./4.png", "images/gone.png")
    assert source.findings.passed_over == (
        ("images/a", "folder"),
        ("images/gone", "missing file"),
        ("images/notes.txt", "text or other file"),
        ("images/4.png", "file listed twice"),
    )
    assert list(find_unreadable(source, progress=False)) == [1]


@pytest.mark.parametrize(
    ("text", "message"), [("\n", "is empty"), ("nowhere\n", "names no images.*1 missing file")]
)
def test_lists_without_images_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        open_source(write(tmp_path / "list.txt", text))


def test_a_list_on_another_file_system(tmp_path):
    root = f"ram://{tmp_path}/lists"
    write_folder(root, {"images/1.png": b"1", "list.txt": b"images/1.png\n"})
    source = open_source(f"{root}/list.txt")
    assert source.names == ("images/1.png",) and loaded(source) == [b"1"]


def test_columns_without_labels_are_paths_alone(tmp_path):
    path = write(tmp_path / "manifest.csv", "index,path,label\n0,1.png,\n1,2.png,\n")
    assert read_table(path).labels is None and read_table(path).paths == ("1.png", "2.png")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*/*.png", ("b/3.png", "a/1.png")),
        ("**/*.png", ("4.png", "a/1.png", "b/3.png")),
        ("[ab]", ("a/1.png", "a/2", "b/3.png")),
        ("*", ("4.png", "a/1.png", "a/2", "b/3.png")),
    ],
)
def test_a_pattern_opens_what_it_matches(images, pattern, names):
    source = open_source(f"{images}/{pattern}")
    assert set(source.names) == set(names) and len(source) == len(names)
    assert (source.labels is None) == ("4.png" in names)
    assert find_unreadable(source, progress=False) == {}


def test_a_pattern_passes_over_what_systems_leave(images):
    write_image(images / "a" / "@eaDir" / "1.png")
    for pattern in ("*/*", "**/*.png"):
        source = open_source(f"{images}/{pattern}")
        assert not any("@eaDir" in name for name in source.names)
        assert source.findings.passed_over == (("a/@eaDir", "system folder"),)


def test_a_pattern_on_another_file_system(tmp_path):
    root = f"ram://{tmp_path}/pattern"
    write_folder(root, {"a/1.png": b"1", "b/2.png": b"2", "b/3.jpg": b"3"})
    assert set(open_source(f"{root}/*/*.png").names) == {"a/1.png", "b/2.png"}
