import json
import pickle
import subprocess
import sys

import miniature_oxford
import numpy as np
import pytest

from dc_keras.errors import InputError
from dc_keras.evaluation.retrieval.ground_truth import NamedAnswers
from dc_keras.evaluation.retrieval.oxford import read_oxford
from dc_keras.evaluation.retrieval.pairs import read_pairs
from dc_keras.evaluation.retrieval.revisited import read_revisited

GRADED = {"bbx": [1, 2.5, 30, 40], "easy": [0], "hard": [2, 3], "junk": [1]}
REVISITED = {"imlist": ["a", "b", "c", "d"], "qimlist": ["q", "r"], "gnd": [GRADED, GRADED]}


def test_oxford(tmp_path):
    miniature_oxford.write_oxford(tmp_path / "gt")
    (tmp_path / "gt" / "thing_3_1_ok.txt").write_text("")
    found = read_oxford(str(tmp_path / "gt"))
    assert found.searched is None and len(found.queries) == 5
    assert found.queries[0].image == "thing_0_0"
    assert found.queries[0].box == (6.5, 3.2, 80.1, 66.0)
    expected = NamedAnswers(("thing_0_1", "thing_0_2"), ("thing_0_0", "thing_0_3"))
    assert found.queries[0].answers == {"map": expected}
    assert found.queries[3].answers["map"].relevant == ("thing_3_1",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: [path.unlink() for path in folder.iterdir()], "no queries.*0 files"),
        (lambda folder: (folder / "thing_2_1_ok.txt").unlink(), "thing_2_1_ok.txt is not there"),
        (
            lambda folder: (folder / "thing_2_1_query.txt").unlink(),
            "thing_2_1_good.txt belongs to no query, and 2 more",
        ),
        (lambda folder: (folder / "thing_2_1_query.txt").write_text("oxc1_a 1 2 3"), "no box"),
        (lambda folder: (folder / "thing_2_1_query.txt").write_text(""), "no box"),
        (lambda folder: (folder / "thing_2_1_query.txt").write_text("a 9 2 3 4"), "x1 < x2"),
        (lambda folder: (folder / "thing_2_1_query.txt").write_text("a 1 2 nan 4"), "no box"),
    ],
)
def test_what_is_wrong_with_oxford_is_named(tmp_path, change, words):
    miniature_oxford.write_oxford(tmp_path / "gt")
    change(tmp_path / "gt")
    with pytest.raises(InputError, match=words):
        read_oxford(str(tmp_path / "gt"))


def test_revisited(tmp_path):
    hard_alone = {**GRADED, "easy": []}
    path = tmp_path / "gnd.json"
    path.write_text(json.dumps({**REVISITED, "gnd": [GRADED, hard_alone]}))
    found = read_revisited(str(path))
    assert found.searched == ["a", "b", "c", "d"]
    assert [query.image for query in found.queries] == ["q", "r"]
    assert found.queries[0].box == (1, 2.5, 30, 40)
    assert found.queries[0].answers == {
        "easy": NamedAnswers(("a",), ("b", "c", "d")),
        "medium": NamedAnswers(("a", "c", "d"), ("b",)),
        "hard": NamedAnswers(("c", "d"), ("b", "a")),
    }
    assert sorted(found.queries[1].answers) == ["hard", "medium"]


def test_a_pickle_is_not_read_and_the_command_that_is_told_converts_it(tmp_path):
    path = tmp_path / "gnd_roxford5k.pkl"
    as_published = {**GRADED, "easy": np.array([0]), "bbx": np.array(GRADED["bbx"])}
    path.write_bytes(pickle.dumps({**REVISITED, "gnd": [as_published, GRADED]}))
    with pytest.raises(InputError, match="Nothing is unpickled.*trust where") as error:
        read_revisited(str(path))
    command = str(error.value).splitlines()[-1].strip()
    assert command.startswith("python -c ")
    command = command.replace("python", sys.executable, 1)
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert json.loads(path.with_suffix(".json").read_text()) == REVISITED


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read"),
        ([], "a list stands at the top"),
        ({**REVISITED, "imlist": [1]}, "'imlist' is missing"),
        ({**REVISITED, "gnd": [GRADED]}, "2 queries and 1 answers"),
        ({**REVISITED, "gnd": [GRADED, {**GRADED, "hard": [4]}]}, "'hard' of query 1"),
        ({**REVISITED, "gnd": [{**GRADED, "junk": [True]}, GRADED]}, "'junk' of query 0"),
        ({**REVISITED, "gnd": [{**GRADED, "bbx": None}, GRADED]}, "no box.*query 0"),
    ],
)
def test_what_is_wrong_with_revisited_is_named(tmp_path, content, words):
    path = tmp_path / "gnd.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=words):
        read_revisited(str(path))


def test_pairs(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text(
        "\ufeffQuery,relevant,x1,y1,x2,y2\na.jpg,b.jpg,1,2,30,40\na.jpg,c,,,,\nd,a.jpg,,,,\n"
    )
    first, second = read_pairs(str(path)).queries
    assert (first.image, first.box) == ("a.jpg", (1, 2, 30, 40))
    assert first.answers == {"map": NamedAnswers(("b.jpg", "c"), ("a.jpg",))}
    assert (second.image, second.box) == ("d", None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "other columns"),
        ("query,other\na,b\n", "other columns"),
        ("query,relevant\n", "no queries"),
        ("query,relevant\na,b\nc\n", "line 3"),
        ("query,relevant,x1,y1,x2,y2\na,b,1,2,3,\n", "no box.*line 2"),
        ("query,relevant,x1,y1,x2,y2\na,b,1,2,3,4\na,c,1,2,3,5\n", "two regions.*line 3"),
    ],
)
def test_what_is_wrong_with_pairs_is_named(tmp_path, text, words):
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_pairs(str(path))
