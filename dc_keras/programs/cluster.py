"""Clusters images by features that you have, or by a network that you have, without training.

    dc-keras cluster --embeddings=features.npy --data_dir=IMAGES --run_dir=RUN
    dc-keras cluster --embeddings=features.parquet --data_dir=IMAGES --run_dir=RUN --num_clusters=50
    dc-keras cluster --network=backbone.keras --pixels=-1..1 --data_dir=IMAGES --run_dir=RUN

The features go through PCA and k-means as in training. The run that this makes has a gallery,
tables, copies and sorted folders, and can be evaluated; other images can be assigned to its
clusters. A training cannot go on from it. docs/given_features.md has the details.

Exit codes: 0 on success, 2 on flags, features, networks or images that the program cannot work
with.
"""

from dc_keras.config import ClusterConfig as Settings
from dc_keras.process import prepare_process, printable
from dc_keras.programs.run import command


def main(settings: Settings) -> None:
    """Clusters the images and says what to do with the run."""
    prepare_process()
    from dc_keras.training.given_features import cluster

    run = cluster(settings)
    told = (
        f"Done. The cluster of each image is in {run.model}/clusters.csv\n"
        f"  {command('gallery')} --run_dir={settings.run_dir}\n"
        f"  {command('table')} --run_dir={settings.run_dir} --out=clusters.csv"
    )
    print(printable(told))
