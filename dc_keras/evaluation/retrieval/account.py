"""What a reader sees of retrieval: tables, how it was measured, and a picture of what was found."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dc_keras.data.pixels.squares import squares_of_images
from dc_keras.data.sources.image_source import ImageSource
from dc_keras.evaluation.retrieval.average_precision import KAPPAS
from dc_keras.evaluation.retrieval.retrieve import BEST, Found, RetrievalProtocol
from dc_keras.evaluation.retrieval.revisited import SETUPS
from dc_keras.evaluation.retrieval.rmac import DIM, LEVELS, OVERLAP
from dc_keras.evaluation.retrieval.search import Search
from dc_keras.evaluation.retrieval.whole_images import WHOLE, whole_image
from dc_keras.evaluation.tables import Column, Table

CELL = 112
_FRAME, _GAP = 5, 8
_GREEN, _RED, _GREY, _WHITE = (26, 152, 80), (215, 48, 39), (150, 150, 150), (255, 255, 255)
_REVISITED = "retrieval_medium"


def tables(search: Search) -> list[Table]:
    """Tables of what was measured, for `Table.of` the rows."""
    title = f"Retrieval among {len(search.searched):,} images: {search.told}"
    columns = [Column("retrieval_map", "retrieval", "mAP", ".1%")]
    for setup in SETUPS:
        key, group = f"retrieval_{setup}", setup.capitalize()
        columns.append(Column(key, group, "mAP", ".1%"))
        columns += [Column(f"{key}_mp{kappa}", group, f"mP@{kappa}", ".1%") for kappa in KAPPAS]
    return [Table(columns, title)]


def method(search: Search, protocol: RetrievalProtocol) -> list[str]:
    """How it was measured, as Markdown."""
    lines = [
        f"- Retrieval: {search.told}. Images are seen whole, their longest side resized to "
        f"{protocol.longest_side:,} pixels; of a query with a region of interest that is cut out "
        f"behind the resizing. {len(search.searched):,} images are ranked by their dot product "
        "with each query, exactly; equals in random order.",
        f"- R-MAC (Tolias et al. 2016): the maxima of the last convolution after its ReLU "
        f"({protocol.layer}, before its pooling) in square regions of {LEVELS} sizes, of which "
        f"neighbours among the largest overlap by about {OVERLAP:.0%}. Regions are normalised to "
        f"length 1, PCA-whitened to at most {DIM} dimensions and normalised again; so is their "
        "sum, which is the image's vector.",
        f"- Whitening is learned for each network on {search.others_told}, none of which is "
        "searched or a query.",
        "- mAP: the mean over queries of the area under the line of precision over recall, by "
        "trapezoids, as the program compute_ap of Oxford5k computes it. Junk is skipped as if it "
        "were not there.",
    ]
    if any(setup in query.answers for query in search.queries for setup in SETUPS):
        lines.append(
            "- Easy: easy images are relevant, junk and hard ones are skipped. Medium: easy and "
            "hard ones are relevant. Hard: hard ones are, junk and easy ones are skipped. mP@k: "
            "the relevant part of the k best, or of those up to the last relevant one if that is "
            "before (Radenovic et al. 2018)."
        )
    return lines


def picture(source: ImageSource, found: Sequence[Found], cell: int = CELL) -> np.ndarray | None:
    """A sheet of what queries found: the query to the left, the best images to the right.

    Relevant images have a green frame, others a red one, and junk a grey one. A query's own image
    is left out.

    Args:
        source: The images of the search.
        found: At most a few queries; their images are read again.
        cell: Side of an image in pixels, with its frame.

    Returns:
        uint8 `(h, w, 3)`; None without queries.
    """
    rows = [_row(source, one, cell) for one in found]
    return np.concatenate(rows) if rows else None


def _row(source: ImageSource, found: Found, cell: int) -> np.ndarray:
    answers = found.answers
    query = _framed(source, found.query.image, found.query.box or WHOLE, _WHITE, cell)
    cells = [query, np.full((cell, _GAP, 3), 255, np.uint8)]
    for image in found.best:
        color = _GREEN if image in answers.relevant else _RED
        color = _GREY if image in answers.junk else color
        cells.append(_framed(source, image, WHOLE, color, cell))
    empty = BEST - len(found.best)
    return np.concatenate([*cells, np.full((cell, empty * cell, 3), 255, np.uint8)], axis=1)


def _framed(source, image, box, color, cell) -> np.ndarray:
    """An image, or a part of it, in a square with a frame, and a white line around that."""
    inner = cell - 2 * _FRAME
    pixels, _ = whole_image(
        source.load(tf.constant(image)), tf.constant(box, tf.float32), 2 * inner, source.options
    )
    framed = np.full((cell, cell, 3), 255, np.uint8)
    framed[1:-1, 1:-1] = color
    framed[_FRAME:-_FRAME, _FRAME:-_FRAME] = squares_of_images(
        pixels[tf.newaxis], inner, keeps_shape=True
    )[0].numpy()
    return framed
