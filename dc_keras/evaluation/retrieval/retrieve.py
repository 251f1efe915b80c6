"""Measures how well one network's last feature maps find images of the same thing."""

import dataclasses
import sys
from collections.abc import Iterator, Sequence

import keras
import numpy as np
from tqdm import tqdm

from dc_keras.clustering.whitening import Whitening
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.errors import InputError
from dc_keras.evaluation.retrieval.answers import Answers, Query
from dc_keras.evaluation.retrieval.average_precision import (
    KAPPAS,
    average_precision,
    precision_at,
    ranks_of_relevant,
)
from dc_keras.evaluation.retrieval.conv_maps import ConvMaps
from dc_keras.evaluation.retrieval.ground_truth import MAP
from dc_keras.evaluation.retrieval.ranking import rank
from dc_keras.evaluation.retrieval.rmac import (
    DIM,
    aggregate,
    fit_region_whitening,
    region_vectors,
)
from dc_keras.evaluation.retrieval.search import Search
from dc_keras.evaluation.retrieval.whole_images import WHOLE, whole_images
from dc_keras.seeds import numpy_rng

LONGEST_SIDE = 1024
# What the picture of found images shows, and of how many queries.
BEST, SHOWN_QUERIES = 10, 6
# Of several figures the one that the picture goes by.
_SHOWN_FIGURES = (MAP, "medium")


@dataclasses.dataclass(frozen=True)
class RetrievalProtocol:
    """How networks are measured.

    Attributes:
        layer: Name of the layer whose maps are taken: the last convolution after its ReLU.
        longest_side: Of every image in pixels, which is resized to it.
        seed: Of the run: decides between equally similar images, and which queries are shown.
    """

    layer: str
    longest_side: int = LONGEST_SIDE
    seed: int = 31


@dataclasses.dataclass(frozen=True)
class Found:
    """What a query found.

    Attributes:
        query: The query.
        best: The most similar images but its own, best first, at most ten.
        answers: What it should find.
    """

    query: Query
    best: np.ndarray
    answers: Answers


@dataclasses.dataclass(frozen=True)
class Retrieved:
    """What a network found.

    Attributes:
        figures: Mean average precision as `retrieval_map`, or as `retrieval_easy`,
            `retrieval_medium` and `retrieval_hard`, beside mean precisions, such as
            `retrieval_easy_mp10`.
        found: What some queries found, for a picture.
        remarks: What a reader should know, a sentence each.
    """

    figures: dict[str, float]
    found: tuple[Found, ...]
    remarks: tuple[str, ...]


class Describer:
    """Makes vectors of images by one network, and counts those that were of another size.

    Args:
        network: From uint8 images to logits; batch norm uses its running statistics.
        protocol: How its maps are taken.

    Raises:
        InputError: If it takes images of one size alone, or larger ones than the longest side.
    """

    def __init__(self, network: keras.Model, protocol: RetrievalProtocol):
        self._maps = ConvMaps(network, protocol.layer)
        self._longest_side = protocol.longest_side
        self.enlarged = self.filled_up = self.described = 0
        if self.least_side > self._longest_side:
            raise InputError(
                "Images are too small for the network, of which nothing would be left at its last "
                f"convolution. Received: a longest side of {self._longest_side} pixels. Expected "
                f"{self.least_side} or more."
            )

    @property
    def least_side(self) -> int:
        """The side in pixels that lower or narrower images are filled up to."""
        return self._maps.least_side

    def regions(
        self, source: ImageSource, indices: np.ndarray, boxes: np.ndarray, told: str
    ) -> Iterator[np.ndarray]:
        """Yields `region_vectors` of given images in given order; see `whole_images`."""
        images = whole_images(source, indices, boxes, self._longest_side, self.least_side)
        with tqdm(
            total=len(indices),
            desc=told,
            unit="image",
            disable=not sys.stderr.isatty(),
            leave=False,
        ) as bar:
            for image, size, is_filled_up in images:
                self.described += 1
                self.enlarged += self._longest_side > 2 * max(size.numpy())
                self.filled_up += bool(is_filled_up)
                yield region_vectors(self._maps(image))
                bar.update()

    def describe(
        self,
        source: ImageSource,
        indices: np.ndarray,
        boxes: np.ndarray,
        whitening: Whitening,
        told: str,
    ) -> np.ndarray:
        """Vectors of given images, float32 `(m, d)`: arguments as of `regions`."""
        found = np.empty((len(indices), whitening.output_dim), np.float32)
        for row, vectors in enumerate(self.regions(source, indices, boxes, told)):
            found[row] = aggregate(vectors, whitening)
        return found

    def remarks(self) -> tuple[str, ...]:
        """What a reader should know of the images that were described, a sentence each."""
        told = []
        if self.enlarged > self.described / 2:
            told.append(
                f"Retrieval: {self.enlarged:,} of {self.described:,} images were enlarged more "
                f"than twice, to {self._longest_side:,} pixels. A smaller longest side takes less "
                "time, and other figures."
            )
        if self.filled_up:
            told.append(
                f"Retrieval: {self.filled_up:,} of {self.described:,} images and regions of "
                f"interest were lower or narrower than {self.least_side} pixels, from which on "
                "the network has maps, and were filled up with grey."
            )
        return tuple(told)


def measure_retrieval(
    network: keras.Model, search: Search, protocol: RetrievalProtocol
) -> Retrieved:
    """Lets a network find images.

    Args:
        network: From uint8 images to logits. Its convolutions run on one device, an image at a time
            at its own size.
        search: Images, queries, and images that whitening is learned on.
        protocol: How the network is measured.

    Returns:
        Its figures. Memory: twice the regions of the images that whitening is learned on (80 KB an
        image for VGG16), then 2 KB an image that is searched, and what `rank` takes.

    Raises:
        InputError: If the network takes images of one size alone, its maps are not finite, or all
            of them are alike.

    Reference:
        Caron et al. 2018, section 4.4 (instance retrieval), with R-MAC of Tolias et al. 2016.
    """
    describer = Describer(network, protocol)
    whitening = _learn_whitening(describer, search.others)
    source, searched, queries = search.source, search.searched, search.queries
    database = describer.describe(source, searched, _whole(len(searched)), whitening, "searched")
    asked = _ask(describer, search, database, whitening)
    row_of = np.full(len(source), -1, np.int64)
    row_of[searched] = np.arange(len(searched))
    shown = _shown(queries, protocol.seed)
    scores: dict[str, list[float]] = {}
    found = []
    for number, order in enumerate(rank(asked, database, seed=protocol.seed)):
        for name, score in _scores(order, queries[number], row_of, len(searched)):
            scores.setdefault(name, []).append(score)
        if number in shown:
            ranked = searched[order[: BEST + 1]]
            best = ranked[ranked != queries[number].image][:BEST]
            found.append(Found(queries[number], best, queries[number].answers[shown[number]]))
    figures = {f"retrieval_{name}": float(np.mean(some)) for name, some in scores.items()}
    return Retrieved(figures, tuple(found), describer.remarks())


def _whole(count: int) -> np.ndarray:
    return np.tile(np.array(WHOLE), (count, 1))


def _learn_whitening(describer: Describer, others: ImageSource) -> Whitening:
    indices = np.arange(len(others))
    regions = describer.regions(others, indices, _whole(len(others)), "whitening")
    return fit_region_whitening(np.concatenate(list(regions)), DIM)


def _ask(
    describer: Describer, search: Search, database: np.ndarray, whitening: Whitening
) -> np.ndarray:
    """Vectors of the queries: those of the searched images, where that is what is looked for."""
    row_of = {int(image): row for row, image in enumerate(search.searched)}
    asked = np.empty((len(search.queries), database.shape[1]), np.float32)
    other = []
    for number, query in enumerate(search.queries):
        if query.box is None and query.image in row_of:
            asked[number] = database[row_of[query.image]]
        else:
            other.append(number)
    images = np.array([search.queries[number].image for number in other], np.int64)
    boxes = np.array([search.queries[number].box or WHOLE for number in other]).reshape(-1, 4)
    asked[other] = describer.describe(search.source, images, boxes, whitening, "queries")
    return asked


def _scores(
    order: np.ndarray, query: Query, row_of: np.ndarray, count: int
) -> Iterator[tuple[str, float]]:
    """The figures of one query by name, of those figures that it has something to find for."""
    for figure, answers in query.answers.items():
        relevant, junk = np.zeros(count, bool), np.zeros(count, bool)
        relevant[row_of[answers.relevant]] = True
        junk[row_of[answers.junk]] = True
        num_relevant = int((relevant & ~junk).sum()) + answers.missing
        ranks = ranks_of_relevant(order, relevant, junk)
        yield figure, average_precision(ranks, num_relevant)
        if figure != MAP:
            for kappa in KAPPAS:
                yield f"{figure}_mp{kappa}", precision_at(ranks, kappa)


def _shown(queries: Sequence[Query], seed: int) -> dict[int, str]:
    """The figure that is shown for some queries, by their numbers: drawn at random."""
    figure_of: dict[int, str] = {}
    for number in numpy_rng(seed, "retrieval shown").permutation(len(queries)):
        figures = [name for name in _SHOWN_FIGURES if name in queries[number].answers]
        if figures and len(figure_of) < SHOWN_QUERIES:
            figure_of[int(number)] = figures[0]
    return figure_of
