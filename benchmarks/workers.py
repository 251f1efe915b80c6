"""Several workers on this machine: where they listen, and what tells each which one it is."""

import json
import socket
from collections.abc import Sequence


def free_addresses(count: int) -> list[str]:
    """Addresses on this machine that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("localhost", 0))
        return [f"localhost:{one.getsockname()[1]}" for one in sockets]
    finally:
        for one in sockets:
            one.close()


def tf_config(addresses: Sequence[str], rank: int) -> str:
    """TF_CONFIG of one of them."""
    task = {"type": "worker", "index": rank}
    return json.dumps({"cluster": {"worker": list(addresses)}, "task": task})
