"""Assigns images, also ones that were not trained on, to the clusters of a finished run.

    dc-keras assign --run_dir=RUN --data_dir=IMAGES --out=clusters.csv

The CSV file tells for each image its path, its cluster and the distance of its descriptor to the
cluster's centroid (descriptors have unit length, so distances run from 0 to about 2). Where the
clusters have names, which dc-keras apply gives them, it tells the name as well.

Exit codes: 0 on success, 2 on flags, images or a run that the program cannot work with.
"""

from dc_keras.config import AssignConfig as Settings
from dc_keras.config.images import value_range
from dc_keras.process import prepare_process


def main(settings: Settings) -> None:
    """Assigns the images and says where the result is."""
    prepare_process()
    from dc_keras.exploring.cluster_names import load_names
    from dc_keras.runs.run_directory import RunDirectory
    from dc_keras.serving.cluster_ids import write_clusters

    run = RunDirectory(settings.run_dir)
    run.config()  # Whether there is a run at all.
    given = {
        "value_range": value_range(settings.value_range),
        "max_pixels": settings.max_pixels,
    }
    changes = {name: value for name, value in given.items() if value}
    assigned, left_out = write_clusters(
        settings.run_dir,
        settings.data_dir,
        settings.out,
        max_bad_fraction=settings.max_bad_fraction,
        batch_size=settings.batch_size,
        changes=changes,
        names=load_names(run),
    )
    skipped = f", left out {left_out} unreadable" if left_out else ""
    print(f"Assigned {assigned:,} images{skipped}: {settings.out}")
