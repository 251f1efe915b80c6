"""Over a thousand odd files of all formats look as Pillow sees them, or are refused with reason."""

import pytest

from corpus import corpus, table
from dc_keras.data.pixels.limits import UNUSUAL_BMP

# What is refused although Pillow reads it.
REFUSED = {"BMP 16 bits": UNUSUAL_BMP, "BMP RLE": UNUSUAL_BMP}


@pytest.mark.slow
@pytest.mark.long
def test_a_corpus_of_odd_files_is_read_as_by_pillow():
    found = table(corpus(1100, seed=31))
    for name, counts in found.items():
        print(f"{name:24}", ", ".join(f"{count} {told}" for told, count in counts.items()))
    assert sum(sum(counts.values()) for counts in found.values()) == 1100
    for name, counts in found.items():
        allowed = {"same", "within 2", REFUSED.get(name)}
        assert not set(counts) - allowed, f"{name}: {counts}"
