"""PCA and whitening from 4,096 to 256 dimensions: ours, and `faiss.PCAMatrix` as the public code.

    python -m benchmarks.pca

Both fit and apply. Where eigenvalues are nearly equal at the cut, the last directions of a subspace
are as good as others, so besides the angles between the two subspaces the variance that each holds
is compared.
"""

import faiss
import numpy as np
import scipy.linalg

from benchmarks.interleaved import arguments, rates, report
from dc_keras.clustering.whitening import fit_whitening


def features_like(num_images: int, dim: int) -> np.ndarray:
    """Features whose variances fall off as a power law, with an offset, float32 `(n, dim)`."""
    rng = np.random.default_rng(0)
    scales = (1 + np.arange(dim)) ** -0.7
    mixing = scipy.linalg.qr(rng.standard_normal((dim, dim)), mode="economic")[0]
    features = (rng.standard_normal((num_images, dim)) * scales) @ mixing
    return (features + 0.1).astype(np.float32)


def main() -> None:
    """Measures and prints."""
    options = arguments(__doc__)
    dim, kept = (512, 32) if options.quick else (4096, 256)
    for n in [600] if options.quick else [3000, 10_000]:
        features = features_like(n, dim)
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
        held = [
            np.square((features - features.mean(axis=0)) @ scipy.linalg.orth(one)).sum()
            for one in (fitted["ours"].projection, theirs)
        ]
        angles = np.degrees(scipy.linalg.subspace_angles(fitted["ours"].projection, theirs))
        report(
            options,
            f"PCA and whitening {dim:,} to {kept}, n = {n:,}",
            found,
            "images/s",
            goals={"faiss.PCAMatrix": 30},
            packages=["numpy", "scikit-learn", "faiss-cpu"],
            note=f"principal angles in degrees: median {np.median(angles):.2g}, "
            f"largest {angles.max():.2g}; variance held, ours to theirs: {held[0] / held[1]:.6f}",
        )


if __name__ == "__main__":
    main()
