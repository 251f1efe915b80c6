"""Packs a data set into a few large files, which network drives read faster than a million small.

    dc-keras pack IMAGES PACKED
    dc-keras pack IMAGES PACKED --short_side=256
    dc-keras pack --verify PACKED
    python train.py --data_dir=PACKED --run_dir=RUN

Images keep their bytes, names, order and labels; but those of 16 bits become PNGs of 8, by
--value_range or the range that is found. With --short_side, larger ones become JPEGs of that size,
which lose a little and decode faster; those that are no larger stay as they are. Needs
array_record: pip install -r requirements-data.txt

Exit codes: 0 on success, 2 on arguments or files that the program cannot work with.
"""

import sys

from dc_keras.config import PackConfig as Settings
from dc_keras.config.images import value_range
from dc_keras.errors import InputError
from dc_keras.process import load_libraries_quietly


def main(settings: Settings) -> None:
    """Packs or verifies, and says what came of it."""
    load_libraries_quietly()
    from dc_keras.data.pixels.options import PixelOptions
    from dc_keras.data.sources.array_records import PACKED, ArrayRecordSource, verify_packed
    from dc_keras.data.sources.inspection import leave_out_unreadable
    from dc_keras.data.sources.open import open_source
    from dc_keras.data.sources.packing import pack
    from dc_keras.data.sources.value_range import with_value_range

    if settings.verify:
        source = open_source(settings.source)
        if not isinstance(source, ArrayRecordSource):
            raise InputError(
                f"This is no packed folder. Received: {settings.source!r}. "
                f"Expected: a folder with {PACKED}. Check the path."
            )
        if wrong := verify_packed(settings.source, source):
            raise InputError(
                f"Packed images have changed. Received: {len(wrong):,} of {len(source):,} with "
                f"another checksum than when they were packed, the first is {wrong[0]}. "
                "Copy the shards again, or pack anew."
            )
        print(f"All {len(source):,} images of {settings.source} are as they were packed.")
        return
    progress = sys.stderr.isatty()
    options = PixelOptions(value_range(settings.value_range), settings.max_pixels)
    source = open_source(settings.source, options=options)
    for line in source.findings.lines():
        print(line)
    source, seen = leave_out_unreadable(source, settings.max_bad_fraction, progress=progress)
    source, told = with_value_range(
        source, seen.of_readable().is_deep, ", and are packed with 8 bits, see --value_range"
    )
    if told:
        print(told)
    shards = pack(
        source,
        settings.out,
        short_side=settings.short_side,
        shard_images=settings.shard_images,
        progress=progress,
    )
    print(
        f"Packed {len(source):,} images ({len(seen.unreadable):,} unreadable ones left out) into "
        f"{len(shards):,} shards of {sum(shard.bytes for shard in shards):,} bytes: {settings.out}"
    )
