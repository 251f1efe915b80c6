"""How long a turn of the loop takes on several machines, what it sends and what it needs.

    python -m benchmarks.simulate_scale --write             predictions
    python -m benchmarks.scale --write                      small cases, measured beside predicted

Each stage is a formula of the numbers of images, clusters and workers, with constants that were
measured: see `Speed` and `Network`. docs/scaling.md says where they hold.
"""

import dataclasses
import math

from benchmarks.interleaved import arguments
from benchmarks.rows import plain
from tools.write_tables import REPOSITORY, put_rows, write_tables

FLOAT, LABEL = 4, 4
# Images whose views every worker computes by itself.
VIEWED = 512
# Bytes of each image on every worker, whatever the share: its name, labels, places, and what the
# sampler draws by. Measured with two million names of 31 characters.
PER_IMAGE = 154


@dataclasses.dataclass(frozen=True)
class Job:
    """What is learned.

    Attributes:
        images: Their number.
        clusters: Of k-means.
        batch: Crops in a step, over all workers.
        crops: Crops that a turn trains on; 0 for as many as images.
        features: Numbers in an image's features.
        dimensions: Of descriptors.
        pca_images: Most images that PCA is fitted on.
        iterations: Of k-means.
        backbone: Numbers in the network, without its head, which has `features` for each cluster.
        tensors: Arrays of them.
        two_level_from: Clusters from which on k-means has two levels.
    """

    images: int
    clusters: int
    batch: int = 256
    crops: int = 0
    features: int = 4096
    dimensions: int = 256
    pca_images: int = 32768
    iterations: int = 20
    backbone: int = 134_000_000
    tensors: int = 60
    two_level_from: int = 50_000

    @property
    def weights(self) -> int:
        """Numbers in the network."""
        return self.backbone + self.features * self.clusters

    @property
    def steps(self) -> int:
        """Training steps of a turn."""
        return max(1, round((self.crops or self.images) / self.batch))


@dataclasses.dataclass(frozen=True)
class Speed:
    """What a worker's machine does alone.

    Attributes:
        image: Seconds of reading an image and computing its features.
        extraction: Seconds of a pass over images, beside them.
        pca_row: Seconds of fitting PCA, for each image that it is fitted on.
        pca: Seconds of fitting it, beside them.
        product: Multiplications and additions of k-means in a second.
        clustering: Seconds of a clustering, beside them.
        crop: Seconds of reading a crop and training on it.
        step: Seconds of a step, beside its crops.
        turn: Seconds of a turn's training, beside its steps: a new pipeline.
    """

    image: float
    extraction: float
    pca_row: float
    pca: float
    product: float
    clustering: float
    crop: float
    step: float
    turn: float


@dataclasses.dataclass(frozen=True)
class Network:
    """What workers tell each other.

    Attributes:
        latency: Seconds of the smallest exchange of two workers.
        byte: Seconds for each byte of an array that two workers add up.
        tensor: Seconds for each gradient of a step of two workers, beside its bytes.
    """

    latency: float
    byte: float
    tensor: float

    def exchange(self, size: float, workers: int) -> float:
        """Seconds to add up an array of so many bytes.

        In a ring parts of 1 / w are passed on 2 (w - 1) times, one after the other.
        """
        return (workers - 1) * (self.latency + size * self.byte * 2 / workers)

    def gradients(self, size: float, tensors: int, workers: int) -> float:
        """Seconds to add up the gradients of a step."""
        return self.exchange(size, workers) + (workers - 1) * tensors * self.tensor


def seconds(job: Job, speed: Speed, network: Network, workers: int) -> dict[str, float]:
    """Seconds of each stage of a turn, by its name in metrics.jsonl."""
    own = job.images / workers
    sample = min(job.images, job.pca_images)
    clusters, coarse = job.clusters, math.sqrt(job.clusters)
    two_levels = clusters >= job.two_level_from

    def exchange(size):
        return network.exchange(size, workers)

    def iteration(candidates: float, sums: float, exchanges: float) -> float:
        """Of k-means: distances to so many centroids, and sums of so many that are exchanged."""
        products = 2 * own * candidates * job.dimensions / speed.product
        return products + exchanges * exchange(8 * (sums * (job.dimensions + 1) + 1))

    if two_levels:
        # Coarse clusters, then within each of them, one after the other.
        learning = iteration(coarse, coarse, 1) + iteration(coarse, coarse, coarse)
    else:
        learning = iteration(clusters, clusters, 1)
    assigning = 2 * own * clusters * job.dimensions / speed.product
    starts = exchange(FLOAT * clusters * job.dimensions)
    flags = exchange(3 * LABEL)
    crops = job.batch / workers * speed.crop
    gradients = network.gradients(FLOAT * job.weights, job.tensors, workers)
    clustering = speed.clustering + job.iterations * learning + assigning
    return {
        "features": (own + VIEWED) * speed.image + speed.extraction,
        "pca": speed.pca + sample * speed.pca_row + exchange(FLOAT * sample * job.features),
        "kmeans": clustering + starts + exchange(LABEL * job.images),
        "train": speed.turn + job.steps * (crops + speed.step + gradients + flags),
    }


def sent(job: Job, workers: int) -> dict[str, float]:
    """Bytes that a worker sends in each stage of a turn."""
    if workers == 1:
        return dict.fromkeys(("pca", "kmeans", "train"), 0.0)
    ring = 2 * (workers - 1) / workers
    clusters = job.clusters
    sums = 8 * clusters * (job.dimensions + 1)
    return {
        "pca": ring * FLOAT * min(job.images, job.pca_images) * job.features,
        "kmeans": ring * (job.iterations * sums + LABEL * job.images),
        "train": ring * job.steps * FLOAT * job.weights,
    }


def memory(job: Job, workers: int) -> dict[str, float]:
    """Bytes that a worker holds while images are clustered, beside the network and the programs."""
    sample = min(job.images, job.pca_images)
    return {
        "names and labels of all images": job.images * PER_IMAGE,
        "own descriptors": job.images / workers * job.dimensions * FLOAT,
        "features for PCA": 3 * sample * job.features * FLOAT,
        "centroids and sums": job.clusters * job.dimensions * (2 * FLOAT + 3 * 8),
    }


# An H100 with 16 cores, docs/data/gpu.csv: features at 4,276 images/s but reading at 2,553, steps
# that are not compiled (XLA compiles those of one device alone) at 1,041 images/s, k-means of
# ImageNet's size in 13.5 s. PCA on two cores. Seconds of a pass, a clustering and a turn, and the
# network of 100 Gbit/s, four fifths of which arrive, and 0.05 ms, are taken for granted.
H100 = Speed(
    image=1 / 2553,
    extraction=2.0,
    pca_row=2.3e-4,
    pca=0.0,
    product=2 * 1_281_167 * 10_000 * 256 * 20 / 13.5,
    clustering=1.0,
    crop=1 / 1041,
    step=0.0,
    turn=2.0,
)
FAST = Network(latency=5e-5, byte=1 / 10e9, tensor=0.0)
SMALLEST_PART = 16
CASES = {
    "ImageNet": Job(1_281_167, 10_000),
    "ImageNet, larger batch": Job(1_281_167, 10_000, batch=2048),
    "14 million": Job(14_000_000, 10_000, batch=2048),
    "100 million": Job(100_000_000, 10_000, batch=4096),
    "100 million, more clusters": Job(100_000_000, 320_000, batch=4096),
    "a billion": Job(1_000_000_000, 10_000, batch=4096),
}


def predictions() -> list[dict[str, str]]:
    """Rows of predictions.csv: what each job takes on so many GPUs, one to a machine."""
    rows = []
    for name, job in CASES.items():
        for workers in (1, 8, 64, 256):
            # A smaller part of a batch leaves a card idle.
            if job.batch / workers < SMALLEST_PART:
                continue
            found = seconds(job, H100, FAST, workers)
            hours = {stage: plain(took / 3600) for stage, took in found.items()}
            rows.append(
                {
                    "job": name,
                    "images": str(job.images),
                    "clusters": str(job.clusters),
                    "batch": str(job.batch),
                    "gpus": str(workers),
                    **hours,
                    "turn": plain(sum(found.values()) / 3600),
                    "memory": plain(sum(memory(job, workers).values()) / 1e9),
                    "sent": plain(sum(sent(job, workers).values()) / 1e12),
                }
            )
    return rows


def main() -> None:
    """Prints predictions; with --write puts them into docs/data/predictions.csv."""
    options = arguments(__doc__)
    rows = predictions()
    for row in rows:
        print(" | ".join(f"{name} {value}" for name, value in row.items()))
    if options.write:
        put_rows(REPOSITORY, "predictions", rows)
        write_tables(REPOSITORY)


if __name__ == "__main__":
    main()
