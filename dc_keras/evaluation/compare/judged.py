"""What evaluate.py found of a run: its report and which test images were classified correctly."""

import dataclasses
import json
import zipfile
from collections.abc import Callable, Sequence

import numpy as np

from dc_keras.errors import InputError
from dc_keras.evaluation.report import GIVEN, TRAINED
from dc_keras.runs.run_directory import RunDirectory


@dataclasses.dataclass(frozen=True)
class Judged:
    """A run with what was measured of it.

    Attributes:
        run: Folder of the run.
        seed: Its seed.
        figures: Its figures by name.
        correct: By the name of a figure, which test images are classified correctly, boolean
            `(m,)`.
        names: Names of the test images, bytes `(m,)`.
        labels: Their classes, integers `(m,)`.
        class_names: Names of the classes.
        train_images: Number of images that probes were fitted to.
        num_clusters: Number of clusters that features were put into.
        images: A checksum of the centre crops of all images.
        clustered: How features were clustered: reduced, and by the training.
        versions: Versions of the libraries, in words.
    """

    run: str
    seed: int
    figures: dict[str, float]
    correct: dict[str, np.ndarray]
    names: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...] = ()
    train_images: int = 0
    num_clusters: int = 0
    images: str = ""
    clustered: str = ""
    versions: str = ""


def read_judged(run: RunDirectory) -> Judged:
    """Reads what evaluate.py wrote into a run.

    Args:
        run: The run, of a training or of given features.

    Raises:
        InputError: If it was not evaluated, or by an older version, or a file is damaged.
    """
    report, outcomes = run.evaluation / "report.json", run.evaluation / "outcomes.npz"
    if missing := [path for path in (report, outcomes) if not path.is_file()]:
        raise InputError(
            f"The run was not evaluated by this version. Received: --compare with {run.path}, "
            f"which has no {missing[0]}. Expected what evaluate.py --run_dir={run.path} writes: "
            "run that first, with the same --test_dir for all."
        )
    try:
        content = json.loads(report.read_text(encoding="utf-8"))
        with open(outcomes, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return _judged(str(run.path), content, {name: arrays[name] for name in arrays.files})
    # What is damaged can be wrong in all these ways.
    except (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError) as error:
        raise _damaged(run, error) from error
    except (StopIteration, zipfile.BadZipFile) as error:
        raise _damaged(run, error) from error


def _judged(run: str, content: dict, arrays: dict[str, np.ndarray]) -> Judged:
    """Takes what is compared out of both files."""
    rows = content["rows"]
    row = next(name for name in (TRAINED, GIVEN, *rows) if name in rows)
    names, labels = arrays["names"], arrays["labels"]
    correct = {
        name.removeprefix(f"{row}/"): array
        for name, array in arrays.items()
        if name.startswith(f"{row}/") and array.dtype == bool
    }
    if any(
        array.shape != (content["test_images"],) for array in (names, labels, *correct.values())
    ):
        raise ValueError("they are of other numbers of images")
    return Judged(
        run=run,
        seed=int(content["seed"]),
        figures={name: float(value) for name, value in rows[row].items()},
        correct=correct,
        names=names,
        labels=labels,
        class_names=tuple(content["class_names"]),
        train_images=int(content["train_images"]),
        num_clusters=int(content["num_clusters"]),
        images=str(content["images"]),
        clustered=f"{'' if content['whitened'] else 'not '}whitened, {content['training_method']}",
        versions=", ".join(f"{name} {one}" for name, one in content["versions"].items()),
    )


def _damaged(run: RunDirectory, error: Exception) -> InputError:
    return InputError(
        f"What was measured of a run cannot be read. Received: {run.evaluation} "
        f"({type(error).__name__}: {error}). Expected report.json and outcomes.npz as evaluate.py "
        f"wrote them together: evaluate --run_dir={run.path} again."
    )


def check_same_images(judged: Sequence[Judged]) -> list[str]:
    """Checks that runs were tested on the same images of the same classes.

    Args:
        judged: Runs, the first of which the others are compared with.

    Returns:
        What else differs between them, a sentence each.

    Raises:
        InputError: If the test images or their classes differ: paired figures would be nonsense.
    """
    first, *others = judged
    for other in others:
        same_classes = first.class_names == other.class_names
        if same_classes and _same(first.names, other.names) and _same(first.labels, other.labels):
            continue
        common = len(np.intersect1d(first.names, other.names))
        what = "images" if same_classes else "classes"
        raise InputError(
            f"The runs were tested on other {what}. Received: {first.run} with "
            f"{len(first.names):,} test images of {len(first.class_names):,} classes, {other.run} "
            f"with {len(other.names):,} of {len(other.class_names):,}, {common:,} in common. "
            "Evaluate all of them with the same --data_dir, --test_dir and --max_images: without "
            "a --test_dir the test images are drawn by each run's --seed."
        )
    return _other_differences(judged)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def _other_differences(judged: Sequence[Judged]) -> list[str]:
    told: dict[str, Callable[[Judged], object]] = {
        "Probes were fitted to other numbers of images": lambda one: f"{one.train_images:,}",
        "Features were put into other numbers of clusters, so that NMI, ARI, accuracy and purity "
        "of these are not compared": lambda one: f"{one.num_clusters:,}",
        "Features were clustered in other ways": lambda one: one.clustered,
        "Libraries differ": lambda one: one.versions,
    }
    remarks = []
    for sentence, of in told.items():
        values = [of(one) for one in judged]
        if len(set(values)) > 1:
            each = "; ".join(
                f"{one.run}: {value}" for one, value in zip(judged, values, strict=True)
            )
            remarks.append(f"{sentence}: {each}.")
    if len({one.images for one in judged}) > 1 and len({one.train_images for one in judged}) == 1:
        remarks.append(
            "The pixels that the networks were given differ: by --image_size, --fit or "
            "--value_range of the runs, or by other training images."
        )
    return remarks
