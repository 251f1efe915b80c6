"""The published method in plain PyTorch, as the yardstick: for its speed and for what it learns.

    python -m benchmarks.torch_training IMAGES --image_size=32 --width=0.25 --num_clusters=100

In each epoch fc7 of all images is reduced by PCA, whitened, scaled to unit length and clustered by
Faiss; then the network, with a new head, learns to tell the clusters on random crops of images that
are drawn uniformly over clusters. A cluster that Faiss leaves empty stays so. Prints a line of JSON
an epoch. Needs PyTorch: pip install -r requirements-torch.txt
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import time
from collections.abc import Iterable, Sequence

import faiss
import numpy as np
import torch

from benchmarks.pillow_loader import Photographs, central_crop, loader, normalized, random_crop
from benchmarks.torch_vgg import Vgg16

DIMENSIONS, ITERATIONS = 256, 20
# Images whose features are computed at a time.
EXTRACTED = 256
SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a training is done with; the rest is as published.

    Attributes:
        images: Folder of images, with or without folders of classes.
        image_size: Side of the crops in pixels, a multiple of 32.
        width: Of the network.
        num_clusters: Clusters.
        epochs: Passes over as many images as there are.
        batch_size: Images in a step.
        seed: Of all draws.
    """

    images: str
    image_size: int = 32
    width: float = 1.0
    num_clusters: int = 100
    epochs: int = 10
    batch_size: int = 64
    seed: int = 31


def settings_of(arguments: Sequence[str] | None = None) -> Settings:
    """Reads settings from a command line; by default that of the process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder, *others = dataclasses.fields(Settings)
    parser.add_argument(folder.name)
    for field in others:
        parser.add_argument(f"--{field.name}", type=field.type, default=field.default)
    return Settings(**vars(parser.parse_args(arguments)))


def train(settings: Settings) -> Vgg16:
    """Trains a network from its initial weights, and prints a line an epoch."""
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    found = pathlib.Path(settings.images).rglob("*")
    paths = sorted(str(path) for path in found if path.suffix.lower() in SUFFIXES)
    side, order = settings.image_size, []
    crops = functools.partial(central_crop, side=side), functools.partial(random_crop, side=side)
    central, augmented = (Photographs(paths, crop, normalized) for crop in crops)
    in_order, drawn = loader(central, EXTRACTED), loader(augmented, settings.batch_size, order)

    network = Vgg16(side, settings.num_clusters, settings.width)
    optimizers = network.optimizers()
    for epoch in range(1, settings.epochs + 1):
        times = [time.perf_counter()]
        features = extract(network, in_order)
        times.append(time.perf_counter())
        clusters = cluster(features, settings.num_clusters, seed=int(rng.integers(2**31)))
        times.append(time.perf_counter())
        order[:] = draw_over_clusters(clusters, rng)
        network.redraw_head()
        targets = torch.from_numpy(clusters[order]).split(settings.batch_size)
        loss = learn(network, optimizers, zip(drawn, targets, strict=True))
        times.append(time.perf_counter())
        seconds = [round(passed, 2) for passed in np.diff(times).tolist()]
        named = dict(zip(("extraction", "clustering", "training"), seconds, strict=True))
        print(json.dumps({"epoch": epoch, "loss": round(loss, 4), "seconds": named}), flush=True)
    return network


@torch.no_grad()
def extract(network: Vgg16, batches: Iterable[torch.Tensor]) -> np.ndarray:
    """Features of all images, float32 `(n, units)`."""
    network.eval()
    return np.concatenate([network.fc7(images).numpy() for images in batches])


def cluster(features: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """PCA, whitening, unit length and k-means; int64 `(n,)`."""
    n, size = features.shape
    dimensions = min(DIMENSIONS, size, n - 1)
    pca = faiss.PCAMatrix(size, dimensions, -0.5)
    pca.train(features)
    descriptors = pca.apply(features)
    faiss.normalize_L2(descriptors)
    kmeans = faiss.Kmeans(
        dimensions,
        num_clusters,
        niter=ITERATIONS,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=n,
    )
    kmeans.train(descriptors)
    return kmeans.assign(descriptors)[1]


def draw_over_clusters(clusters: np.ndarray, rng: np.random.Generator) -> list[int]:
    """As many images as there are: each of a random cluster, and of that a random member."""
    members = np.argsort(clusters, kind="stable")
    sizes = np.bincount(clusters)
    starts = np.cumsum(sizes) - sizes
    chosen = rng.choice(np.flatnonzero(sizes), len(clusters))
    return members[starts[chosen] + rng.integers(0, sizes[chosen])].tolist()


def learn(
    network: Vgg16,
    optimizers: Sequence[torch.optim.Optimizer],
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
) -> float:
    """Takes a step for each batch of images and targets, and returns their mean loss."""
    network.train()
    losses = []
    for images, targets in batches:
        loss = torch.nn.functional.cross_entropy(network(images), targets)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses))


if __name__ == "__main__":
    train(settings_of())
