"""PCA and whitening from 4,096 to 256 dimensions: ours, and `faiss.PCAMatrix` as the public code.

    python -m benchmarks.pca

Both fit and apply. Both subspaces are compared with the exact one, of LAPACK in float64: by
principal angles, and by the variance that they hold. Where eigenvalues are nearly equal at the
cut, the last direction can be exchanged for the next, which holds as much.
"""

import faiss
import numpy as np
import scipy.linalg

from benchmarks.interleaved import arguments, rates
from benchmarks.rows import Subject, report_speed
from dc_keras.clustering.whitening import fit_whitening

# The exact subspace of more images takes as long as ours.
EXACT_IMAGES = 10_000


def directions(dim: int) -> np.ndarray:
    """Orthonormal directions, as rows, times standard deviations that fall off as a power law."""
    vectors = np.random.default_rng(0).standard_normal((dim, dim))
    scales = (1 + np.arange(dim)) ** -0.7
    return (scales[:, np.newaxis] * scipy.linalg.qr(vectors)[0]).astype(np.float32)


def features_like(num_images: int, axes: np.ndarray) -> np.ndarray:
    """Features with these standard deviations and an offset, float32 `(n, dim)`."""
    rng = np.random.default_rng(1)
    return rng.standard_normal((num_images, len(axes)), np.float32) @ axes + np.float32(0.1)


def covariance_of(features: np.ndarray) -> np.ndarray:
    """Covariance in float64 `(dim, dim)`, of which no more than a block is held beside it."""
    mean = features.mean(axis=0, dtype=np.float64)
    total = np.zeros((features.shape[1],) * 2)
    for start in range(0, len(features), 4096):
        block = features[start : start + 4096] - mean
        total += block.T @ block
    return total / len(features)


def exact_directions(covariance: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues, decreasing, and their eigenvectors as columns, by LAPACK."""
    size = len(covariance)
    values, vectors = scipy.linalg.eigh(covariance, subset_by_index=[size - count, size - 1])
    return values[::-1], vectors[:, ::-1]


def accuracy(features: np.ndarray, subspaces: dict[str, np.ndarray]) -> str:
    """Compares subspaces, whose directions are columns, with the exact one of as many."""
    kept = min(subspace.shape[1] for subspace in subspaces.values())
    covariance = covariance_of(features)
    values, exact = exact_directions(covariance, kept + 1)
    noted = []
    for name, subspace in subspaces.items():
        angles = np.degrees(scipy.linalg.subspace_angles(exact[:, :kept], subspace))
        angles = np.sort(angles)[[kept // 2, -2, -1]]
        inside = scipy.linalg.orth(subspace.astype(np.float64))
        held = np.einsum("ij,ij->", inside, covariance @ inside)
        lost = 1 - held / values[:kept].sum()
        noted.append(
            f"{name} {', '.join(f'{angle:.2g}' for angle in angles)}, "
            f"with {lost:.1e} of its variance lost"
        )
    return (
        "principal angles to the exact subspace in degrees, median and the two largest: "
        f"{'; '.join(noted)}; at the cut the eigenvalues are {values[kept - 1]:.6g} and "
        f"{values[kept]:.6g}"
    )


def main() -> None:
    """Measures and prints."""
    options = arguments(__doc__, turns=1)
    dim, kept = (512, 32) if options.quick else (4096, 256)
    axes = directions(dim)
    for n in [600] if options.quick else [3000, 10_000, 100_000]:
        features = features_like(n, axes)
        fitted = {}

        def ours(features=features, fitted=fitted):
            fitted["ours"] = fit_whitening(features, kept)
            fitted["ours"].apply(features)
            return len(features)

        def public(features=features, fitted=fitted):
            fitted["public"] = faiss.PCAMatrix(dim, kept, -0.5)
            fitted["public"].train(features)
            faiss.normalize_L2(fitted["public"].apply(features))
            return len(features)

        found = rates({"ours": ours, "faiss.PCAMatrix": public}, options.turns)
        theirs = faiss.vector_to_array(fitted["public"].A).reshape(kept, dim).T
        subspaces = {"ours": fitted["ours"].projection, "theirs": theirs}
        stage = f"PCA and whitening {dim:,} to {kept}"
        report_speed(
            options,
            Subject(stage, f"n = {n:,}", ["numpy", "scipy", "faiss-cpu"]),
            found,
            "images/s",
            goals={"faiss.PCAMatrix": 30},
            note=accuracy(features, subspaces) if n <= EXACT_IMAGES else "",
        )


if __name__ == "__main__":
    main()
