"""Which machine of a cluster this is, by the variable that TensorFlow reads."""

import json

import pytest

from dc_keras.errors import InputError
from dc_keras.tf_config import PlaceInCluster, number_of_machines, place_in_cluster

WORKERS = {"worker": ["a:1", "b:1"]}


def config(cluster, kind="worker", index=0):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


@pytest.mark.parametrize(
    ("environment", "rank", "addresses"),
    [
        (config(WORKERS, index=1), 1, ("a:1", "b:1")),
        (config(WORKERS, index="1"), 1, ("a:1", "b:1")),
        (config({"worker": ["a:1"], "chief": ["c:1"]}), 1, ("c:1", "a:1")),
        (config({"worker": ["a:1"], "chief": ["c:1"]}, "chief"), 0, ("c:1", "a:1")),
        (config({"worker": ["a:1"]}), 0, ("a:1",)),
    ],
)
def test_places(environment, rank, addresses):
    assert place_in_cluster(environment) == PlaceInCluster(rank, addresses)
    assert number_of_machines(environment) == len(addresses)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "--strategy=multi_worker without TF_CONFIG"),
        ({"TF_CONFIG": " "}, "--strategy=multi_worker without TF_CONFIG"),
        ({"TF_CONFIG": "{"}, "does not tell its machines"),
        ({"TF_CONFIG": "[]"}, "does not tell its machines"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}}'}, "does not tell its machines"),
        ({"TF_CONFIG": '{"cluster": 3, "task": {}}'}, "does not tell its machines"),
        (config(WORKERS, index=None), "does not tell its machines"),
        (config(WORKERS | {"ps": ["c:1"]}), "tasks ps, worker"),
        (config(WORKERS | {"chief": ["c:1", "d:1"]}), "tasks chief, worker"),
        (config({"worker": ["a:1", "b"]}), "a:1, b, not all HOST:PORT"),
        (config({"worker": ["a:1", "a:1"]}), "the same address twice"),
        (config(WORKERS, index=2), "the task worker 2"),
        (config(WORKERS, index=-1), "the task worker -1"),
        (config(WORKERS, "chief"), "the task chief 0"),
        (config({}), "the task worker 0"),
    ],
)
def test_what_is_no_place_is_refused(environment, told):
    with pytest.raises(InputError, match=told) as raised:
        place_in_cluster(environment)
    assert "On one machine: --strategy=auto." in str(raised.value)


def test_no_machine_and_one_that_cannot_be_read():
    assert number_of_machines({}) == 0
    assert number_of_machines({"TF_CONFIG": "{}"}) == 0
    assert number_of_machines({"TF_CONFIG": "{"}) is None
