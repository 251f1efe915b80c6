"""Writes what is known of each image of a run as a table.

    dc-keras table --run_dir=RUN --out=clusters.csv
    dc-keras table --run_dir=RUN --out=clusters.parquet --features=features.npy

A row for each image: its path, cluster and the name of that, the distance to its centroid and how
much farther the second nearest one is (small: borderline), how far it lies from its nearest images,
the group of copies that it is in, its place on a map, and its ten nearest images as row numbers.
The first call looks at all images, which is kept in RUN/exploration.

Exit codes: 0 on success, 2 on flags, images or a run that the program cannot work with.
"""

import sys

from dc_keras.config import TableConfig as Settings
from dc_keras.files import check_output_file
from dc_keras.process import prepare_process


def main(settings: Settings) -> None:
    """Writes the table and says where it is."""
    prepare_process()
    from dc_keras.exploring.cluster_table import check_table_name, write_features, write_table
    from dc_keras.exploring.exploration import explore

    check_table_name(settings.out)
    for path in filter(None, (settings.out, settings.features)):
        check_output_file(path)
    exploration = explore(
        settings.run_dir, batch_size=settings.batch_size, progress=sys.stderr.isatty()
    )
    write_table(exploration, settings.out)
    if settings.features:
        write_features(exploration, settings.features)
    print(f"{len(exploration.found.paths):,} images: {settings.out}")
    if exploration.recall < 1:
        print(f"Of the ten nearest images, {exploration.recall:.1%} are the true ones.")
    if settings.out.lower().endswith(".parquet"):
        print(
            f"Look at it with: embedding-atlas {settings.out} --x=x --y=y --neighbors=neighbors "
            "--image=image"
        )
