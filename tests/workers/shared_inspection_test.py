"""What several workers see of images together is what one sees."""

import contextlib
import sys

import numpy as np
import pytest
from PIL import Image

from dc_keras.data.sources import inspection
from dc_keras.data.sources.arrays import ArraySource
from dc_keras.data.sources.inspection import inspect
from dc_keras.data.sources.open import open_source
from dc_keras.workers.shared_inspection import inspect_together
from encoded_images import encode
from thread_workers import together


@pytest.fixture
def one_stderr(monkeypatch):
    """Workers are threads here, which cannot each turn away what libraries print."""
    shown = contextlib.nullcontext(sys.stderr)
    monkeypatch.setattr(inspection, "without_native_messages", lambda: shown)


@pytest.fixture
def source(tmp_path):
    """Images of different sizes, some of 16 bits, some damaged, one name that is no UTF-8."""
    for i in range(10):
        image = Image.fromarray(np.full((20 + i, 30, 3), 9 * i, np.uint8))
        if i in (2, 7):
            image = Image.fromarray(np.full((20 + i, 30), 999 * i, np.uint16))
        content = encode(image, "PNG")
        name = b"\xff.png".decode(errors="surrogateescape") if i == 8 else f"{i}.png"
        (tmp_path / name).write_bytes(content[:40] if i in (0, 4, 9) else content)
    return open_source(str(tmp_path))


@pytest.mark.parametrize("count", [1, 2, 3, 11])
def test_images_in_files(source, one_stderr, count):
    alone = inspect(source, progress=False)
    assert sorted(alone.unreadable) == [0, 4, 8] and alone.is_deep.sum() == 2
    for seen in together(count, lambda worker: inspect_together(source, worker, progress=False)):
        assert seen.unreadable == alone.unreadable
        np.testing.assert_array_equal(seen.sizes, alone.sizes)
        np.testing.assert_array_equal(seen.is_deep, alone.is_deep)
        assert seen.is_deep.dtype == bool and seen.sizes.dtype == np.int32


def test_arrays():
    arrays = ArraySource(np.zeros((5, 6, 7, 3), np.uint8), [str(i) for i in range(5)])
    for seen in together(2, lambda worker: inspect_together(arrays, worker, progress=False)):
        assert seen.unreadable == {} and not seen.is_deep.any()
        np.testing.assert_array_equal(seen.sizes, [[6, 7]] * 5)
