"""Assigns images, also ones that were not trained on, to the clusters of a finished run.

    dc-keras assign --run_dir=RUN --data_dir=IMAGES --out=clusters.csv
    dc-keras assign --run_dir=RUN --embeddings=features.npz --data_dir=IMAGES --out=clusters.csv

The second is for a run of dc-keras cluster --embeddings: features by the same network.

The CSV file tells for each image

    path        below --data_dir
    cluster     the one whose centroid is nearest to its descriptor
    distance    from that centroid; descriptors have unit length, so it runs from 0 to about 2
    margin      how much farther the second nearest is: near 0, it could as well be that one
    outlier     yes, if the distance is larger than that of 95 % of the run's own images
    cluster_2, distance_2, cluster_3, distance_3
                the next nearest
    name        of the cluster, where dc-keras apply has given names

Exit codes: 0 on success, 2 on flags, images or a run that the program cannot work with.
"""

from dc_keras.config import AssignConfig as Settings
from dc_keras.config.images import value_range
from dc_keras.process import prepare_process, printable


def main(settings: Settings) -> None:
    """Assigns the images and says where the result is."""
    prepare_process()
    from dc_keras.exploring.cluster_names import load_names
    from dc_keras.runs.run_directory import RunDirectory
    from dc_keras.serving.assigned_features import write_clusters_of_features
    from dc_keras.serving.assigned_images import write_clusters

    run = RunDirectory(settings.run_dir)
    run.config()  # Whether there is a run at all.
    names = load_names(run)
    if settings.embeddings:
        told = write_clusters_of_features(
            settings.run_dir,
            (settings.embeddings, settings.paths),
            settings.data_dir,
            settings.out,
            names=names,
        )
    else:
        given = {
            "value_range": value_range(settings.value_range),
            "max_pixels": settings.max_pixels,
        }
        told = write_clusters(
            settings.run_dir,
            settings.data_dir,
            settings.out,
            max_bad_fraction=settings.max_bad_fraction,
            changes={name: value for name, value in given.items() if value},
            names=names,
        )
    skipped = f", left out {told.unreadable:,} unreadable" if told.unreadable else ""
    outliers = f", {told.outliers:,} of them outliers" if told.outliers else ""
    print(printable(f"Assigned {told.images:,} images{outliers}{skipped}: {settings.out}"))
