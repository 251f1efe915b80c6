"""Marks of tests that `.ci/run` leaves out."""

import pytest

# For a case whose like is tested by default: run by `make test-slow`, before a release.
LONG = [pytest.mark.slow, pytest.mark.long]
