"""Several workers of one training as real processes on this machine."""

import os
import subprocess
import sys
import time

from benchmarks.workers import free_addresses, tf_config
from repository import REPOSITORY
from tiny import FLAGS

# Exchanges of processes that share two cores wait for each other.
LIMIT = 300


class Worker:
    """One of them."""

    def __init__(self, flags, log, config):
        self.log = log
        environment = os.environ | {
            "TF_CONFIG": config,
            "CUDA_VISIBLE_DEVICES": "",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        command = [sys.executable, "train.py", *flags, "--strategy=multi_worker"]
        with open(log, "w") as file:
            self.process = subprocess.Popen(
                command, cwd=REPOSITORY, env=environment, stdout=file, stderr=subprocess.STDOUT
            )

    def wait(self, limit=LIMIT):
        """Its exit code."""
        return self.process.wait(limit)

    def told(self):
        """What it has printed so far."""
        return self.log.read_text()

    def wait_until_told(self, text, limit=LIMIT):
        """Waits until it has printed a text."""
        self.wait_until(lambda: text in self.told(), limit)

    def wait_until(self, holds, limit=LIMIT):
        """Waits until something holds, while the process is there."""
        last = time.monotonic() + limit
        while not holds():
            assert self.process.poll() is None, self.told()
            assert time.monotonic() < last, self.told()
            time.sleep(0.02)


class WorkerProcesses:
    """All of them, ended at the latest with the block.

    Args:
        folder: For what they print, and the folders of workers but the first.
        flags: Of all; a list for each worker, if they differ.
        run_dir: The run.
        count: How many.
    """

    def __init__(self, folder, flags, run_dir, count=2):
        self.addresses = free_addresses(count)
        self._folder = folder
        self._run_dir = run_dir
        self._flags = flags if flags and isinstance(flags[0], list) else [flags] * count
        folder.mkdir(parents=True, exist_ok=True)
        self.workers = []

    def start(self, rank):
        """Starts one of them."""
        # Others have no folder of the run.
        run_dir = self._run_dir if rank == 0 else self._folder / f"none-{rank}"
        worker = Worker(
            [*FLAGS, *self._flags[rank], f"--run_dir={run_dir}"],
            self._folder / f"worker-{rank}.log",
            tf_config(self.addresses, rank),
        )
        self.workers.append(worker)
        return worker

    def start_all(self):
        """Starts all of them."""
        return [self.start(rank) for rank in range(len(self.addresses))]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait()


def train_together(folder, flags, run_dir, count=2):
    """Trains to the end, and returns the workers."""
    with WorkerProcesses(folder, flags, run_dir, count) as processes:
        workers = processes.start_all()
        codes = [worker.wait() for worker in workers]
        assert codes == [0] * count, "\n".join(worker.told() for worker in workers)
    return workers
