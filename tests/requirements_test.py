"""What is imported is required, what is required is used, and the lists agree with each other."""

import pathlib
import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from repository import REPOSITORY
from tools.write_build import Tree

RUNTIME_REQUIREMENTS = ("requirements.txt", "requirements-common.txt")
ALL_REQUIREMENTS = (*RUNTIME_REQUIREMENTS, "requirements-dev.txt")
# They are programs, which the Makefile starts.
PROGRAMS = {"import-linter", "mypy", "pdoc", "pytest-xdist", "ruff"}


@pytest.fixture(scope="module")
def tree():
    return Tree(REPOSITORY)


def requirements(names):
    """The requirements that stand in requirements files, by name of the package."""
    lines = [line for name in names for line in (REPOSITORY / name).read_text().splitlines()]
    lines = [line.partition("#")[0].strip().removesuffix("\\").strip() for line in lines]
    found = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def packages_of(tree, path):
    return {canonicalize_name(package) for package in tree.imports(path)[1]}


def test_imported_packages_are_required(tree):
    at_run_time, all_packages = requirements(RUNTIME_REQUIREMENTS), requirements(ALL_REQUIREMENTS)
    for path in tree.syntax:
        known = at_run_time if path.startswith("dc_keras/") or "/" not in path else all_packages
        missing = packages_of(tree, path) - known.keys()
        assert not missing, f"{path} imports {missing}, which no requirements file names"


def test_required_packages_are_used(tree):
    used = set().union(*(packages_of(tree, path) for path in tree.syntax))
    unused = requirements(ALL_REQUIREMENTS).keys() - used - PROGRAMS
    assert not unused, f"Nothing imports {unused}: remove it from its requirements file"


def test_programs_of_the_makefile_are_used():
    makefile = (REPOSITORY / "Makefile").read_text()
    for name in ("ruff", "mypy", "pdoc", "lint-imports", "--numprocesses"):
        assert name in makefile


def test_lock_satisfies_the_requirements():
    locked = requirements(["requirements_lock.txt"])
    for name, requirement in requirements(ALL_REQUIREMENTS).items():
        assert name in locked, f"{name} is missing in requirements_lock.txt. Run: make lock"
        (pin,) = locked[name].specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), f"{requirement}: run make lock"


def test_the_lock_names_what_is_downloaded_by_its_checksum():
    text = (REPOSITORY / "requirements_lock.txt").read_text()
    pins = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    without = [pin.split()[0] for pin in pins if "--hash=sha256:" not in pin]
    assert not without, f"Run: make lock, which writes checksums of {without}"


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-common.txt"])
def test_next_major_versions_are_not_taken_before_they_were_tried(file):
    for name, requirement in requirements([file]).items():
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators == {">=", "<"}, f"{name} has no upper bound in {file}"


def test_pip_extras_equal_the_requirements_files():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for extra, file in (("cpu", "requirements.txt"), ("gpu", "requirements-gpu.txt")):
        listed = [str(requirement) for requirement in requirements([file]).values()]
        assert sorted(listed) == sorted(str(Requirement(text)) for text in extras[extra])


def test_pip_installs_every_folder_of_the_package():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {
        ".".join(path.parent.relative_to(REPOSITORY).parts)
        for path in pathlib.Path(REPOSITORY, "dc_keras").rglob("__init__.py")
    }
    assert set(settings["packages"]) == folders | {"dc_keras.presets"}
