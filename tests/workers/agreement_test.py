"""Workers find the first of many lines in which they differ."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dc_keras.clustering.spread import ALONE
from dc_keras.errors import InputError
from dc_keras.workers.agreement import check_same
from thread_workers import together


def check(*lists):
    """The message that all workers get, or None."""

    def work(worker):
        try:
            check_same("images", lists[worker.rank], worker, "Mend it.")
        except InputError as error:
            return str(error)
        return None

    told = together(len(lists), work)
    assert len(set(told)) == 1
    return told[0]


@pytest.mark.parametrize("count", [0, 1, 1024, 5000])
def test_the_same_lines(count):
    lines = [f"image-{i}.png" for i in range(count)]
    assert check(lines, list(lines), list(lines)) is None
    check_same("images", lines, ALONE, "")


@settings(max_examples=25)
@given(
    count=st.integers(1, 3000), data=st.data(), change=st.sampled_from(["other", "more", "fewer"])
)
def test_the_first_difference_is_told(count, data, change):
    lines = [f"image-{i}.png" for i in range(count)]
    at = data.draw(st.integers(0, count - 1))
    other = list(lines)
    if change == "other":
        other[at] = "ü\udce9.png"
        theirs = r"ü\udce9.png"
    elif change == "more":
        other.insert(at, "new.png")
        theirs = "new.png"
    else:
        del other[at]
        theirs = other[at] if at < len(other) else "nothing"
    told = check(lines, other)
    assert f"of number {at + 1:,}:".replace(",", "") in told.replace(",", "")
    assert f"worker 0: {lines[at]} (of {count:,})" in told
    assert f"worker 1: {theirs} (of {len(other):,})" in told
    assert "Mend it." in told


def test_what_travels_is_little():
    lines = [f"a/rather/long/path/of/an/image-{i:08d}.png" for i in range(100_000)]

    def sent(worker):
        check_same("images", lines, worker, "")
        return worker.sent

    # A checksum of each 1,024 lines from each of two workers, and two numbers.
    assert together(2, sent)[0] == 2 * 8 * (int(np.ceil(100_000 / 1024)) + 1)
