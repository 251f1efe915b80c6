"""PCA, whitening and L2 normalisation: from features to the descriptors that k-means sees.

With features x, their mean mu, and the eigenvectors V and eigenvalues l of their covariance,

    descriptor(x) = z / ||z||,   z = (x - mu) V diag(l)^(-1/2).

A direction without variance has no whitened coordinate: dividing round-off noise by the square root
of a vanishing eigenvalue would blow it up to the size of the signal (and to NaN for zero), and
k-means would weigh both alike. Such directions are left out, so fewer dimensions may come back.
"""

import dataclasses

import numpy as np
import scipy.linalg

from dc_keras.errors import DegenerateDataError

# Features are float32 sums of thousands of products, good to about 1e-6 of their size. A direction
# whose variance is below the square of that, relative to the features' mean square, is round-off.
_NOISE_FLOOR = 1e-12
# Even without an offset, no direction a hundred thousand times weaker than the strongest counts.
_SPECTRUM_FLOOR = 1e-10
# Up to this size the full eigenproblem in float64 takes seconds; above, only the top is computed.
_EXACT_SIZE = 2048
_BLOCK_ROWS = 4096
_OVERSAMPLES = 32
_KRYLOV_BLOCKS = 3


@dataclasses.dataclass(frozen=True)
class Whitening:
    """A fitted projection from features to descriptors.

    Attributes:
        mean: Mean of the features, float32 `(feature_dim,)`.
        projection: Eigenvectors over the roots of their eigenvalues, or eigenvectors alone where
            nothing is whitened, float32 `(feature_dim, output_dim)`.
        eigenvalues: Variances of the kept directions, decreasing, float64 `(output_dim,)`.
        explained_variance: Part of the features' total variance in the kept directions.
    """

    mean: np.ndarray
    projection: np.ndarray
    eigenvalues: np.ndarray
    explained_variance: float

    @property
    def output_dim(self) -> int:
        """Dimensions of the descriptors."""
        return self.projection.shape[1]

    @property
    def effective_rank(self) -> float:
        """Exponential of the entropy of the kept variances: how many directions matter.

        Reference:
            Roy and Vetterli 2007, The effective rank.
        """
        share = self.eigenvalues / self.eigenvalues.sum()
        return float(np.exp(-(share * np.log(share)).sum()))

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Computes descriptors.

        Args:
            features: float32 `(n, feature_dim)`.

        Returns:
            float32 `(n, output_dim)`, C-contiguous, rows of unit length; a row that equals the
            mean stays zero.
        """
        return self._project(features - self.mean)

    def apply_centered(self, features: np.ndarray) -> np.ndarray:
        """As `apply`, for features from which the mean is already subtracted."""
        return self._project(features)

    def _project(self, centered: np.ndarray) -> np.ndarray:
        descriptors = np.ascontiguousarray(centered @ self.projection, dtype=np.float32)
        norms = np.sqrt(_squared_lengths(descriptors))[:, np.newaxis]
        # The smallest normal number keeps a zero row zero instead of NaN.
        return (descriptors / np.maximum(norms, np.finfo(np.float64).tiny)).astype(np.float32)

    def features_at(self, descriptors: np.ndarray) -> np.ndarray:
        """Features that have given descriptors: the inverse of `apply`, as far as there is one.

        What PCA dropped is taken to be at its mean, and the length that L2 normalisation dropped
        to be the root mean square one.

        Args:
            descriptors: float `(n, output_dim)`, such as centroids.

        Returns:
            float32 `(n, feature_dim)`.
        """
        # Columns of the projection are eigenvectors times these factors.
        squared_scales = np.einsum("ij,ij->j", self.projection, self.projection, dtype=np.float64)
        length = np.sqrt(self.eigenvalues @ squared_scales)
        features = self.mean + length * (descriptors / squared_scales) @ self.projection.T
        return features.astype(np.float32)


def fit_whitening(
    features: np.ndarray, dim: int, *, whiten: bool = True, copy: bool = True
) -> Whitening:
    """Fits PCA-whitening on features.

    Args:
        features: float32 `(n, feature_dim)`, finite.
        dim: Dimensions wanted.
        whiten: With False directions keep their variance: PCA alone.
        copy: With False the features are centred in place, which saves a copy of them.

    Returns:
        The whitening, with min(dim, numerical rank, n - 1) dimensions. With sides up to 2,048 all
        directions are exact; above, the top ones come from a block Krylov subspace of the features
        themselves, whose rounding errors are relative to singular values and not, as with a
        covariance matrix, to their squares.

    Raises:
        DegenerateDataError: If all features are alike.

    >>> features = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 5.0, 9.0] + 2.0
    >>> whitening = fit_whitening(features.astype(np.float32), dim=2)
    >>> descriptors = whitening.apply(features.astype(np.float32))
    >>> descriptors.shape, bool(np.allclose(np.linalg.norm(descriptors, axis=1), 1))
    ((500, 2), True)

    Reference:
        Caron et al. 2018, section 4 (PCA to 256, whitened, L2).
    """
    num_images, feature_dim = features.shape
    mean = features.mean(axis=0, dtype=np.float64)
    mean_square = _mean_square(features)
    centered = features - mean.astype(np.float32) if copy else features
    if not copy:
        centered -= mean.astype(np.float32)
    total_variance = _mean_square(centered)

    if min(num_images, feature_dim) <= _EXACT_SIZE:
        eigenvalues, vectors = _exact_directions(centered, dim)
    else:
        eigenvalues, vectors = _top_directions(centered, min(dim, num_images - 1, feature_dim))

    floor = max(_NOISE_FLOOR * mean_square, _SPECTRUM_FLOOR * eigenvalues.max(initial=0.0))
    rank = int((eigenvalues > floor).sum())
    if rank == 0:
        raise DegenerateDataError(
            "The features of all images are alike, so there is nothing to cluster. Received: "
            f"{num_images} images whose features vary by less than float32 round-off. Expected "
            "images that differ. Look at the images (are they all blank, or copies of one?); if "
            "this came after some epochs, the network has collapsed: lower --learning_rate."
        )
    kept = slice(0, min(dim, rank, max(num_images - 1, 1)))
    eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
    return Whitening(
        mean=mean.astype(np.float32),
        projection=(vectors / np.sqrt(eigenvalues) if whiten else vectors).astype(np.float32),
        eigenvalues=eigenvalues,
        explained_variance=float(min(1.0, eigenvalues.sum() / total_variance)),
    )


def _mean_square(features: np.ndarray) -> float:
    """Mean over images of the squared length, summed in float64."""
    return float(_squared_lengths(features).mean())


def _squared_lengths(rows: np.ndarray) -> np.ndarray:
    """Squared lengths in float64, where the squares of all float32 numbers have room."""
    return np.einsum("ij,ij->i", rows, rows, dtype=np.float64)


def _exact_directions(centered: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Top eigenvalues (decreasing) and eigenvectors (columns) of the covariance, in float64.

    With more features than images the same comes from the smaller Gram matrix: for X = U S V',
    X X' = U S^2 U', and V = X' U / S.
    """
    num_images, feature_dim = centered.shape
    wide = feature_dim > num_images
    gram = _gram(centered.T if wide else centered)
    top = [max(0, len(gram) - dim), len(gram) - 1]
    eigenvalues, vectors = scipy.linalg.eigh(
        gram / num_images, subset_by_index=top, check_finite=False
    )
    eigenvalues, vectors = np.maximum(eigenvalues[::-1], 0.0), vectors[:, ::-1]
    if wide:
        lengths = np.sqrt(np.maximum(eigenvalues * num_images, np.finfo(np.float64).tiny))
        vectors = (centered.T.astype(np.float64) @ vectors) / lengths
    return eigenvalues, vectors


def _gram(rows: np.ndarray) -> np.ndarray:
    """Products of all columns with each other in float64, from a block of rows at a time."""
    product = np.zeros((rows.shape[1],) * 2)
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS].astype(np.float64)
        product += block.T @ block
    return product


def _top_directions(centered: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Top eigenvalues (decreasing) and eigenvectors (columns) of the covariance, by iteration.

    A random subspace, a little larger than wanted, is multiplied by the covariance again and again,
    which turns it towards the top directions. They are then found exactly within the span of all
    that it was on its way, which holds far more of them than where it ends. Directions whose
    eigenvalues are nearly equal where the cut is made may be exchanged for each other: as many, of
    as much variance.

    Reference:
        Musco and Musco 2015, "Randomized Block Krylov Methods", algorithm 2.
    """
    num_images, feature_dim = centered.shape
    # Fixed, so that the same features always give the same descriptors.
    rng = np.random.default_rng(0)
    size = min(dim + _OVERSAMPLES, num_images, feature_dim)
    projected = centered @ rng.standard_normal((feature_dim, size), np.float32)
    span, seen = np.empty((feature_dim, 0), np.float32), []
    for _ in range(_KRYLOV_BLOCKS):
        # Here they need not be exactly orthonormal, only far from each other.
        basis = centered.T @ _orthonormal(projected)
        basis = _orthonormal(basis[:, : feature_dim - span.shape[1]])
        # Twice, since columns that hold little beside the span bring some of it back by rounding.
        for _ in range(2):
            basis = _orthonormal(basis - span @ (span.T @ basis))
        projected = centered @ basis
        span = np.hstack([span, basis])
        seen.append(projected)
    eigenvalues, rotation = np.linalg.eigh(_gram(np.hstack(seen)) / num_images)
    top = slice(None, -dim - 1, -1)
    return np.maximum(eigenvalues[top], 0.0), span @ rotation[:, top].astype(np.float32)


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """Columns of the same span, closer to orthonormal; after three times to float32 precision.

    Reference:
        Fukaya et al. 2020, shifted CholeskyQR3: matrix products alone, which takes a third of the
        time of Householder's QR on tall matrices. The shift keeps columns without independent part
        (the features span less) from failing; they end as noise of no variance.
    """
    precise = columns.astype(np.float64)
    gram = precise.T @ precise
    gram[np.diag_indices_from(gram)] += 1e-13 * max(np.trace(gram), np.finfo(np.float64).tiny)
    # By NumPy alone: SciPy's threads would go on spinning while NumPy's multiply.
    return (precise @ np.linalg.inv(np.linalg.cholesky(gram).T)).astype(np.float32)
