"""Files that start several workers: each process gets its place in the cluster, and its flags.

Slurm, Kubernetes and Docker are not here: what they would run is run with their variables set.
"""

import os
import subprocess

import pytest
import yaml

from dc_keras.config import TrainingConfig
from dc_keras.tf_config import place_in_cluster
from repository import REPOSITORY

LAUNCH = REPOSITORY / "configs/launch"


@pytest.fixture
def programs(tmp_path):
    """A folder of programs that say what they were started with, a line for each of it."""
    folder = tmp_path / "programs"
    folder.mkdir()

    def make(name, script):
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)

    make("python", 'printf "%s\\n" "$TF_CONFIG" "$@"')
    make("scontrol", 'printf "%s\\n" node-a node-b node-c')
    # Each of three tasks, one after the other.
    make("srun", 'shift; for SLURM_PROCID in 0 1 2; do export SLURM_PROCID; "$@"; done')
    return folder


def run(command, programs, **environment):
    """The lines that it prints."""
    path = f"{programs}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=os.environ | {"PATH": path} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def check_worker(lines, rank, addresses):
    """Checks what the program of one worker was started with, and returns its flags."""
    place = place_in_cluster({"TF_CONFIG": lines[0]})
    assert (place.rank, place.addresses) == (rank, addresses)
    assert lines[1] == "train.py"
    config = TrainingConfig.from_arguments(lines[2:])
    config.validate()
    assert config.strategy == "multi_worker"
    return config


def test_a_worker_gets_its_place_and_its_words(programs):
    arguments = ["1", "a:1,b:2", "--", "python", "x", "two words"]
    config, *words = run([str(LAUNCH / "worker.sh"), *arguments], programs)
    place = place_in_cluster({"TF_CONFIG": config})
    assert (place.rank, place.addresses) == (1, ("a:1", "b:2"))
    assert words == ["x", "two words"]


@pytest.mark.parametrize("arguments", [[], ["0", "a:1"], ["0", "a:1", "python", "x"]])
def test_how_a_worker_is_started_is_told(arguments):
    done = subprocess.run([str(LAUNCH / "worker.sh"), *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: worker.sh INDEX")


def test_slurm(programs):
    flags = ["--flagfile=configs/imagenet_vgg16.cfg", "--data_dir=/two words", "--run_dir=/run"]
    lines = run(
        ["bash", str(LAUNCH / "slurm.sh"), *flags],
        programs,
        SLURM_SUBMIT_DIR=str(REPOSITORY),
        SLURM_JOB_NODELIST="node-[a-c]",
    )
    each = len(lines) // 3
    for rank in range(3):
        addresses = ("node-a:2222", "node-b:2222", "node-c:2222")
        config = check_worker(lines[rank * each : (rank + 1) * each], rank, addresses)
        assert config.data_dir == "/two words"


def test_kubernetes(programs):
    service, job = yaml.safe_load_all((LAUNCH / "kubernetes.yaml").read_text())
    pods = job["spec"]["template"]["spec"]
    (container,) = pods["containers"]
    name, domain = job["metadata"]["name"], service["metadata"]["name"]
    count = job["spec"]["completions"]
    assert job["spec"]["parallelism"] == count
    assert job["spec"]["completionMode"] == "Indexed"
    assert pods["subdomain"] == domain
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": name}
    (workers,) = (one["value"] for one in container["env"] if one["name"] == "WORKERS")
    # A pod of an Indexed Job is called JOB-INDEX.
    addresses = tuple(f"{name}-{index}.{domain}:2222" for index in range(count))
    assert tuple(workers.split(",")) == addresses
    for rank in range(count):
        environment = {"WORKERS": workers, "JOB_COMPLETION_INDEX": str(rank)}
        config = check_worker(run(container["command"], programs, **environment), rank, addresses)
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {config.data_dir, config.run_dir} == mounted
    volumes = {volume["name"] for volume in pods["volumes"]}
    assert volumes == {mount["name"] for mount in container["volumeMounts"]}


def test_compose(programs):
    services = yaml.safe_load((LAUNCH / "compose.yaml").read_text())["services"]
    addresses = ("worker-0:2222", "worker-1:2222")
    assert tuple(address.partition(":")[0] for address in addresses) == tuple(services)
    for rank, service in enumerate(services.values()):
        # Compose writes $ as $$, and takes the words of the command as a shell does.
        command = ["sh", "-c", service["command"].replace("$$", "$")]
        lines = run(command, programs, **service["environment"])
        config = check_worker(lines, rank, addresses)
        mounted = {volume.split(":/", 1)[1].removesuffix(":ro") for volume in service["volumes"]}
        assert config.data_dir.removeprefix("/") in mounted
    first, second = (service["volumes"] for service in services.values())
    assert [volume for volume in first if volume not in second] == [
        "${RUN:-./runs/compose}:/run/dc-keras"
    ]
