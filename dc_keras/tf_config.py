"""TF_CONFIG: TensorFlow's description of the machines of a cluster, in the environment."""

import dataclasses
import json
from collections.abc import Mapping

from dc_keras.errors import InputError

VARIABLE = "TF_CONFIG"
_EXAMPLE = (
    '{"cluster": {"worker": ["HOST0:2222", "HOST1:2222"]}, "task": {"type": "worker", "index": 0}}'
)


@dataclasses.dataclass(frozen=True)
class PlaceInCluster:
    """Which machine of a cluster this is.

    Attributes:
        rank: Its number, from 0; that of the chief where there is one, else of the first worker.
        addresses: Of all of them, HOST:PORT, in the order of their numbers.
    """

    rank: int
    addresses: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.addresses)


def number_of_machines(environment: Mapping[str, str]) -> int | None:
    """Machines that TF_CONFIG names: 0 without it, None where it cannot be read.

    >>> number_of_machines({"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}}'})
    2
    """
    text = environment.get(VARIABLE, "")
    if not text.strip():
        return 0
    try:
        named = json.loads(text).get("cluster", {})
        return sum(len(addresses) for addresses in named.values())
    except (ValueError, AttributeError, TypeError, RecursionError):
        return None


def place_in_cluster(environment: Mapping[str, str]) -> PlaceInCluster:
    """Reads TF_CONFIG.

    Raises:
        InputError: If it is not there, or not that of a worker of a cluster of workers.

    >>> place_in_cluster({"TF_CONFIG": '''{"cluster": {"chief": ["a:1"], "worker": ["b:1"]},
    ...                                    "task": {"type": "worker", "index": 0}}'''})
    PlaceInCluster(rank=1, addresses=('a:1', 'b:1'))
    """
    text = environment.get(VARIABLE, "")

    def wrong(what: str) -> InputError:
        return InputError(
            f"Several machines are found by {VARIABLE} in the environment. Received: {what}. "
            f"Expected on each of them, with its own index: {VARIABLE}='{_EXAMPLE}'. On one "
            "machine: --strategy=auto."
        )

    if not text.strip():
        raise wrong(f"--strategy=multi_worker without {VARIABLE}")
    try:
        values = json.loads(text)
        cluster = {kind: tuple(addresses) for kind, addresses in values["cluster"].items()}
        kind, index = values["task"]["type"], int(values["task"]["index"])
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
        raise wrong(f"{text[:300]!r}, which does not tell its machines and its task") from error
    if not cluster.keys() <= {"chief", "worker"} or len(cluster.get("chief", ())) > 1:
        raise wrong(f"tasks {', '.join(sorted(cluster))}, where one chief and workers count")
    addresses = cluster.get("chief", ()) + cluster.get("worker", ())
    if any(not isinstance(address, str) or ":" not in address for address in addresses):
        raise wrong(f"the addresses {', '.join(map(str, addresses))}, not all HOST:PORT")
    if len(set(addresses)) < len(addresses):
        raise wrong(f"the same address twice among {', '.join(addresses)}")
    if not 0 <= index < len(cluster.get(kind, ())):
        raise wrong(f"the task {kind} {index}, which its cluster does not have")
    rank = index + (len(cluster.get("chief", ())) if kind == "worker" else 0)
    return PlaceInCluster(rank, addresses)
