"""Assigns images, also ones that were not trained on, to the clusters of a finished run.

    python -m dc_keras.serving.assign --run_dir=RUN --data_dir=IMAGES --out=clusters.csv

The CSV file tells for each image its path, its cluster and the distance of its descriptor to the
cluster's centroid (descriptors have unit length, so distances run from 0 to about 2).

Exit codes: 0 on success, 2 on flags, images or a run that the program cannot work with.
"""

from absl import app

from dc_keras import config
from dc_keras.errors import InputError
from dc_keras.runtime import prepare_process


def main(settings: config.AssignConfig) -> None:
    """Assigns the images and says where the result is."""
    prepare_process()
    from dc_keras.serving.cluster_ids import write_clusters

    try:
        assigned, left_out = write_clusters(
            settings.run_dir,
            settings.data_dir,
            settings.out,
            max_bad_fraction=settings.max_bad_fraction,
            batch_size=settings.batch_size,
        )
    except InputError as error:
        config.exit_with_input_error(error)
    skipped = f", left out {left_out} unreadable" if left_out else ""
    print(f"Assigned {assigned:,} images{skipped}: {settings.out}")


if __name__ == "__main__":
    app.run(main, flags_parser=config.parser(config.AssignConfig))
