"""The images and labels of a VOCdevkit folder, as the PASCAL VOC challenges unpack it.

    VOCdevkit/VOC2007/ImageSets/Main/trainval.txt       000005 a line
    VOCdevkit/VOC2007/ImageSets/Main/cat_trainval.txt   000005 -1 a line: 1, -1 or 0 (difficult)
    VOCdevkit/VOC2007/Annotations/000005.xml            in place of the files of the classes
    VOCdevkit/VOC2007/JPEGImages/000005.jpg

An image can be of several classes. Training images are those of `trainval`, test images those of
`test`; where `test` has no labels, as in VOC2012, `train` and `val` stand in for them.
"""

import collections
import dataclasses
import os
import pathlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping

import numpy as np

from dc_keras.data.pixels.options import USUAL, PixelOptions
from dc_keras.data.sources.folder import FolderSource
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.errors import InputError
from dc_keras.evaluation.voc.average_precision import ABSENT, DIFFICULT, PRESENT

_YEAR = "VOC2007"
_IMAGES, _SETS, _ANNOTATIONS = "JPEGImages", "ImageSets/Main", "Annotations"
_SHOWN = 5

# Of one image, its label for each class that it says anything about.
Marks = Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Images with what they show.

    Attributes:
        images: n images.
        labels: int8 `(n, classes)`: 1 present, -1 absent, 0 difficult, which is left out of all.
    """

    images: ImageSource
    labels: np.ndarray

    def __post_init__(self):
        if len(self.images) != len(self.labels):
            raise ValueError(f"Received: {len(self.images)} images, {len(self.labels)} labels.")


@dataclasses.dataclass(frozen=True)
class Voc:
    """A data set of images of several classes each.

    Attributes:
        train: Images to fit on.
        test: Others.
        class_names: The classes, sorted.
        description: Which they are, in words.
        remarks: What a reader of the figures should know of them, a sentence each.
    """

    train: Labelled
    test: Labelled
    class_names: tuple[str, ...]
    description: str
    remarks: tuple[str, ...] = ()

    @property
    def judged(self) -> np.ndarray:
        """Which classes there is an average precision of, boolean `(classes,)`.

        They need a positive and a negative to train on, and a positive to test on.
        """
        return (
            (self.train.labels == PRESENT).any(axis=0)
            & (self.train.labels == ABSENT).any(axis=0)
            & (self.test.labels == PRESENT).any(axis=0)
        )


def open_voc(folder: str | os.PathLike, options: PixelOptions = USUAL) -> Voc:
    """Opens a VOCdevkit folder.

    Args:
        folder: VOCdevkit, or the folder of a year in it, or one that VOCdevkit lies in. Of several
            years VOC2007 is taken.
        options: How pixels are made of the images.

    Raises:
        InputError: If there is none, or files that it names are missing or cannot be read, or train
            and test share images, or there is no class to judge.
    """
    root = _year(pathlib.Path(folder))
    train_split, test_split, remarks = _splits(root)
    _check_classes(root, train_split, test_split)
    train_marks, test_marks = _marks(root, train_split), _marks(root, test_split)
    if both := sorted(set(train_marks) & set(test_marks)):
        raise InputError(
            f"Test images are among those that are trained on. Received: {root} with {len(both):,} "
            f"in both {train_split} and {test_split}: {_some(both)}. Expected: lists without a "
            f"common image in {root / _SETS}. Mend them."
        )
    names = tuple(sorted({name for marks in (train_marks, test_marks) for name in _named(marks)}))
    voc = Voc(
        _labelled(root, train_marks, names, options),
        _labelled(root, test_marks, names, options),
        names,
        f"{len(train_marks):,} images of {train_split} and {len(test_marks):,} of {test_split} in "
        f"{root}, {len(names)} classes",
    )
    if not voc.judged.any():
        raise InputError(
            f"There is no class to judge. Received: {root} with the classes {_some(names)}. "
            "Expected: a class that some training images show and others do not, and that a test "
            "image shows. Check the lists and annotations."
        )
    left_out = [name for name, judged in zip(names, voc.judged, strict=True) if not judged]
    if left_out:
        remarks.append(
            f"Left out of the means, for want of images that show them, or of training images that "
            f"do not: {', '.join(left_out)}."
        )
    return dataclasses.replace(voc, remarks=tuple(remarks))


def _year(folder: pathlib.Path) -> pathlib.Path:
    """The folder that JPEGImages lies in."""
    for place in (folder, folder / "VOCdevkit"):
        years = [place] if place is folder else []
        years += [place / _YEAR, *sorted(place.glob("VOC[0-9]*"))]
        found = [year for year in years if (year / _IMAGES).is_dir()]
        others = dict.fromkeys(found)
        if found and (len(others) == 1 or found[0] in (folder, place / _YEAR)):
            return found[0]
        if found:
            raise InputError(
                f"There are several years. Received: {place} with "
                f"{', '.join(year.name for year in others)}. Give the folder of one of them."
            )
    raise InputError(
        f"This is no VOCdevkit. Received: {str(folder)!r}. Expected: VOCdevkit or "
        f"VOCdevkit/{_YEAR}, with the folders {_IMAGES}, {_SETS} and {_ANNOTATIONS}, as "
        "VOCtrainval_06-Nov-2007.tar and VOCtest_06-Nov-2007.tar unpack. Check the path, and "
        "unpack both into one folder."
    )


def _splits(root: pathlib.Path) -> tuple[str, str, list[str]]:
    """The lists to train and to test on, and remarks."""
    if _has_list(root, "test") and _has_labels(root, "test"):
        return "trainval", "test", []
    if _has_list(root, "train") and _has_list(root, "val"):
        why = "no labels" if _has_list(root, "test") else "no list"
        return "train", "val", [
            f"There are {why} of the test images in {root}, so that training is on train and the "
            "test on val: figures compare with none that were measured on test."
        ]  # fmt: skip
    raise InputError(
        f"There are no labelled test images. Received: {root} without a list test.txt in "
        f"{_SETS}, or without files CLASS_test.txt and Annotations of its images. Expected them, "
        "or train.txt and val.txt. Unpack VOCtest_06-Nov-2007.tar into the same folder."
    )


def _has_list(root: pathlib.Path, split: str) -> bool:
    return (root / _SETS / f"{split}.txt").is_file()


def _has_labels(root: pathlib.Path, split: str) -> bool:
    if _class_files(root, split):
        return True
    first = next(iter(_listed(root, split)))
    return (root / _ANNOTATIONS / f"{first}.xml").is_file()


def _class_files(root: pathlib.Path, split: str) -> dict[str, pathlib.Path]:
    """The files of the classes by their names."""
    ending = f"_{split}.txt"
    files = sorted((root / _SETS).glob(f"*{ending}"))
    return {file.name.removesuffix(ending): file for file in files}


def _check_classes(root: pathlib.Path, train_split: str, test_split: str) -> None:
    """Refuses files of classes that one of the splits has and the other has not."""
    train, test = (set(_class_files(root, split)) for split in (train_split, test_split))
    if train and test and (others := sorted(train ^ test)):
        raise InputError(
            f"The classes of training and test images differ. Received: {root / _SETS} with files "
            f"of {train_split} or of {test_split} alone for: {_some(others)}. Expected both for "
            "each class. Unpack the data set again, or remove the others."
        )


def _marks(root: pathlib.Path, split: str) -> dict[str, Marks]:
    """What each image of a split shows, in the order of its list."""
    if split == "trainval" and not _has_list(root, split):
        parts = [_marks(root, part) for part in ("train", "val")]
        return parts[0] | parts[1]
    names = _listed(root, split)
    files = _class_files(root, split)
    if not files:
        return {name: _from_annotation(root, name) for name in names}
    columns = {one: _from_class_file(file) for one, file in files.items()}
    for one, column in columns.items():
        if missing := [name for name in names if name not in column]:
            raise InputError(
                f"A class lacks images of its list. Received: {files[one]} without "
                f"{len(missing):,} images of {split}.txt: {_some(missing)}. Expected a line for "
                "each. Unpack the file again."
            )
    return {name: {one: column[name] for one, column in columns.items()} for name in names}


def _listed(root: pathlib.Path, split: str) -> list[str]:
    """The names of the images of a split."""
    file = root / _SETS / f"{split}.txt"
    names = [line.split()[0] for line in _lines(file)]
    if not names:
        raise InputError(
            f"A list is empty. Received: {file}. Expected the name of an image a line."
        )
    if wrong := [name for name in names if "/" in name or "\\" in name]:
        raise InputError(
            f"A list names files elsewhere. Received: {file} with {_some(wrong)}. Expected names "
            f"of images in {_IMAGES}, without .jpg, such as 000005."
        )
    if twice := [name for name, count in collections.Counter(names).items() if count > 1]:
        raise InputError(
            f"A list names images twice. Received: {file} with {_some(twice)}. Leave one of each."
        )
    return names


def _from_class_file(file: pathlib.Path) -> dict[str, int]:
    """Labels by image of one class."""
    column = {}
    for number, line in enumerate(_lines(file), 1):
        parts = line.split()
        if len(parts) != 2 or parts[1] not in ("1", "+1", "-1", "0"):
            raise InputError(
                f"A label cannot be read. Received: line {number} of {file}: "
                f"{line.strip()[:60]!r}. Expected the name of an image and 1 (present), "
                "-1 (absent) or 0 (difficult)."
            )
        column[parts[0]] = int(parts[1])
    return column


def _lines(file: pathlib.Path) -> list[str]:
    """The lines of a file that are not blank."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"A list of images cannot be read. Received: {file} ({error}). Expected a text file as "
            f"the VOC challenges have it. Unpack the data set again; {_ANNOTATIONS} stand in for "
            "files of classes, not for lists."
        ) from error
    return [line for line in text.splitlines() if line.strip()]


def _from_annotation(root: pathlib.Path, name: str) -> Marks:
    """What an image shows by its XML file: difficult where all objects of a class are."""
    file = root / _ANNOTATIONS / f"{name}.xml"
    try:
        objects = ElementTree.parse(file).getroot().findall("object")
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(
            f"An annotation cannot be read. Received: {file} ({error}). Expected the XML file of "
            "the image, since there are no files of the classes in "
            f"{_SETS}. Unpack the data set again, or take the image off the list."
        ) from error
    marks: dict[str, int] = {}
    for one in objects:
        named = (one.findtext("name") or "").strip()
        if not named:
            raise InputError(
                f"An object has no name. Received: {file}. Expected <name> in each <object>."
            )
        is_difficult = (one.findtext("difficult") or "0").strip() == "1"
        marks[named] = max(marks.get(named, DIFFICULT), DIFFICULT if is_difficult else PRESENT)
    return marks


def _named(marks: Mapping[str, Marks]) -> set[str]:
    """All classes that something is said about."""
    return set().union(*marks.values())


def _labelled(
    root: pathlib.Path,
    marks: Mapping[str, Marks],
    class_names: Iterable[str],
    options: PixelOptions,
) -> Labelled:
    """Images of a split; those that are listed and not there are an error."""
    files = [f"{_IMAGES}/{name}.jpg" for name in marks]
    if gone := [file for file in files if not (root / file).is_file()]:
        raise InputError(
            f"Images are listed and not there. Received: {root} without {len(gone):,} of "
            f"{len(files):,}: {_some(gone)}. Unpack the data set again, or take them off the lists."
        )
    rows = [[seen.get(one, ABSENT) for one in class_names] for seen in marks.values()]
    source = FolderSource(str(root), files).read_with(options)
    return Labelled(source, np.array(rows, np.int8))


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
