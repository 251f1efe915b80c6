"""Lists copies among the images of a run, in three tiers that are kept apart.

    dc-keras duplicates --run_dir=RUN --out=duplicates.csv

"same bytes": one file under several names. "same pixels": no value differs once they are decoded.
"near": encoded anew, resized, brightened or cut at the edges; the network and the eye must agree,
by the thresholds below. The list has groups, and for each image which one it is a copy of. The
thresholds are written beside it, as JSON. Nothing is deleted.
The first call looks at all images, which is kept in RUN/exploration.

Exit codes: 0 on success, 2 on flags, images or a run that the program cannot work with.
"""

import sys

from dc_keras.config import DuplicatesConfig as Settings
from dc_keras.files import check_output_file
from dc_keras.process import prepare_process


def main(settings: Settings) -> None:
    """Writes the list and says what is in it."""
    prepare_process()
    from dc_keras.exploring.duplicate_list import counts, write_duplicates
    from dc_keras.exploring.duplicates import NearOptions
    from dc_keras.exploring.exploration import explore

    check_output_file(settings.out)
    near = NearOptions(settings.max_distance, settings.max_bits, settings.min_correlation)
    exploration = explore(
        settings.run_dir, near, batch_size=settings.batch_size, progress=sys.stderr.isatty()
    )
    beside = write_duplicates(exploration, settings.out)
    told = counts(exploration)
    groups = told.pop("groups")
    images = ", ".join(f"{count:,} {kind}" for kind, count in told.items())
    print(f"Images with a copy, of {len(exploration.found.paths):,}: {images}; {groups:,} groups")
    print(
        f"Near: distance at most {near.distance:g}, {near.bits} bits, correlation at least "
        f"{near.correlation:g}"
    )
    print(f"List: {settings.out}, thresholds: {beside}")
