"""The examples in docstrings, run as they stand."""

import doctest
import importlib
import pkgutil

import pytest

import dc_keras

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(dc_keras.__path__, "dc_keras.")
    if not module.ispkg and not module.name.endswith("__main__")
)


def with_examples():
    """Names of the modules that have some."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in MODULES:
        tests = finder.find(importlib.import_module(name), name)
        if any(test.examples for test in tests):
            yield name


@pytest.mark.parametrize("name", list(with_examples()))
def test_examples_give_what_they_show(name):
    results = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert results.attempted and not results.failed
