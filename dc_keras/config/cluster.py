"""Settings of `dc-keras cluster`, and the run's that follow from them."""

import dataclasses

from dc_keras.config.flags import Config, flag
from dc_keras.config.images import FITS, max_pixels_flag, value_range_flag, wrong_value_range
from dc_keras.config.training import TrainingConfig, wrong_labels

PIXELS = ("", "0..255", "0..1", "-1..1", "imagenet", "caffe")
TOKENS = ("mean", "first")
# Flags that say nothing of features that are known already.
_OF_NETWORKS = ("pixels", "image_size", "layer", "tokens", "fit", "batch_size")
# What the run's settings are called by there, too.
_SHARED = (
    "data_dir",
    "run_dir",
    "labels",
    "pca_dim",
    "whiten",
    "kmeans_spherical",
    "kmeans_starts",
    "diffusion_neighbours",
    "seed",
    "fit",
    "batch_size",
    "max_bad_fraction",
    "value_range",
    "max_pixels",
)
# Some tens of images in each cluster; of few images still some clusters; at most as published.
_IN_A_CLUSTER, _FEW, _MOST = 40, 10, 10_000


@dataclasses.dataclass(frozen=True)
class ClusterConfig(Config):
    """Settings of `dc-keras cluster`."""

    embeddings: str = flag(
        "",
        "Features of the images: an .npy file (n, d), an .npz file with arrays features and paths, "
        "or a .parquet file with columns path and embedding.",
    )
    paths: str = flag(
        "",
        "The images of the rows of an .npy file: a .txt file with a path on each line, or a .csv "
        "file with a column path. Not given: the rows are those of the sorted paths, folder by "
        "folder.",
    )
    network: str = flag(
        "",
        "In place of --embeddings, a network to have them from: a .keras file, or keras_hub:FOLDER "
        "with a backbone of keras_hub. No code of theirs is executed, nothing is downloaded.",
    )
    pixels: str = flag(
        "",
        "What the network expects: 0..255, 0..1, -1..1, imagenet (0..1 less the mean over the "
        "deviation of ImageNet) or caffe (BGR of 0..255 less the mean). Not given: 0..255, if it "
        "takes uint8 or begins with layers that scale.",
        choices=PIXELS,
    )
    image_size: int = flag(
        0, "Side of the network's input in pixels, where it takes any; 0: its own.", at_least=0
    )
    layer: str = flag(
        "", "The network's layer whose outputs are the features. Not given: its last one."
    )
    tokens: str = flag(
        "mean",
        "Where a network has a vector for each part of an image: their mean, or the first (the "
        "class token).",
        choices=TOKENS,
    )
    data_dir: str = flag("", "The images, as for train.py.", required=True)
    run_dir: str = flag("", "Folder for the clusters; it must hold no run yet.", required=True)
    num_clusters: int = flag(
        0, "Number of clusters; 0: one for 40 images, but 10 of few ones.", at_least=0
    )
    pca_dim: int = flag(
        256, "Dimensions of the descriptors after PCA, at most.", at_least=1, at_most=32767
    )
    whiten: bool = flag(False, "Scale the directions that PCA finds to equal variance.")
    kmeans_spherical: bool = flag(
        True, "Scale the centroids of k-means to unit length in each iteration."
    )
    kmeans_starts: int = flag(10, "As for train.py: random starts of k-means.", at_least=1)
    diffusion_neighbours: int = flag(
        0,
        "As for train.py: nearest images that the descriptor of each is drawn towards; 0: none.",
        at_least=0,
    )
    seed: int = flag(31, "Every random draw derives from it.", at_least=0)
    labels: str = flag("", "As for train.py: classes of the images, for figures alone.")
    fit: str = flag(
        "crop", "As for train.py: how an image becomes the network's square.", choices=FITS
    )
    max_bad_fraction: float = flag(0.01, "As for train.py.", at_least=0, below=1)
    batch_size: int = flag(64, "Images in a step of the network.", at_least=1)
    value_range: str = value_range_flag("what is found in up to 256 of them")
    max_pixels: int = max_pixels_flag()

    def missing(self) -> list[str]:
        none = not (self.embeddings or self.network)
        return [*(["--embeddings (or --network)"] if none else []), *super().missing()]

    def conflicts(self) -> list[str]:
        found = [*wrong_labels(self.labels), *wrong_value_range(self.value_range)]
        if self.embeddings and self.network:
            found.append(
                "Features are given or computed. Received: --embeddings with --network. Leave one "
                "of them out."
            )
        unused = self.changed(*_OF_NETWORKS) if self.embeddings else self.changed("paths")
        if unused and not (self.embeddings and self.network):
            other = "--network" if self.embeddings else "--embeddings"
            found.append(
                f"These have an effect with {other} alone. Received: "
                f"{', '.join(f'--{name}={getattr(self, name)}' for name in unused)}. Leave them "
                "out."
            )
        return found

    def run_settings(self, num_images: int, image_size: int) -> TrainingConfig:
        """The settings of the run, as the other programs read them.

        Args:
            num_images: Number of images, from which that of clusters follows where it is not given.
            image_size: Side of the network's input in pixels; of given features that of pictures
                that are compared for copies.
        """
        return TrainingConfig(
            num_clusters=self.num_clusters or usual_number_of_clusters(num_images),
            image_size=image_size,
            **{name: getattr(self, name) for name in _SHARED},
        ).with_absolute_paths()


def usual_number_of_clusters(num_images: int) -> int:
    """Clusters to look for among so many images, where nobody says.

    >>> [usual_number_of_clusters(n) for n in (3, 140, 10_000, 1_281_167)]
    [1, 10, 250, 10000]
    """
    few = min(_FEW, max(1, num_images // 2))
    return min(_MOST, max(few, num_images // _IN_A_CLUSTER))
