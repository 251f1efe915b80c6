"""The yardstick in plain PyTorch is the published method, and its weights are read."""

import json

import numpy as np
import pytest

import textures


def test_settings_are_read(torch):
    from benchmarks.torch_training import Settings, settings_of

    assert settings_of(["IMAGES"]) == Settings("IMAGES")
    given = ["IMAGES", "--image_size=64", "--width=0.25", "--num_clusters=7", "--seed=2"]
    assert settings_of(given) == Settings("IMAGES", 64, 0.25, 7, seed=2)


def test_its_features_are_those_of_our_network(torch, rng):
    from benchmarks.pillow_loader import normalized
    from benchmarks.torch_vgg import Vgg16
    from dc_keras.models.feature_extractor import FEATURES, feature_model
    from dc_keras.pytorch.state_dict import infer_architecture, load_state_dict

    torch.manual_seed(0)
    theirs = Vgg16(64, 5, width=1 / 16).eval()
    state = {
        name: tensor.numpy()
        for name, tensor in theirs.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    architecture = infer_architecture(state)
    assert (architecture.image_size, architecture.num_clusters) == (64, 5)
    ours = architecture.build()
    load_state_dict(ours, state)
    images = rng.integers(0, 256, (3, 64, 64, 3), np.uint8)
    pixels = torch.stack([normalized(image) for image in images])
    with torch.no_grad():
        features, logits = theirs.fc7(pixels).numpy(), theirs(pixels).numpy()
    # float32 round-off over 16 layers, with features of about 1e-3 to 1e-2.
    found = feature_model(ours, FEATURES)(images, training=False).numpy()
    np.testing.assert_allclose(found, features, rtol=0, atol=1e-4 * np.abs(features).max())
    np.testing.assert_allclose(
        ours(images, training=False).numpy(), logits, rtol=0, atol=1e-4 * np.abs(logits).max()
    )


def test_sobel_filters_are_not_trained(torch):
    from benchmarks.torch_vgg import Vgg16

    network = Vgg16(32, 5, width=1 / 16)
    fixed = {name for name, weight in network.named_parameters() if not weight.requires_grad}
    assert fixed == {f"sobel.{i}.{kind}" for i in (0, 1) for kind in ("weight", "bias")}
    trained = len(network.body()) + len(list(network.top_layer.parameters()))
    assert trained == len(list(network.parameters())) - len(fixed)


def test_images_are_drawn_uniformly_over_clusters(torch, rng):
    from benchmarks.torch_training import draw_over_clusters

    # Clusters of 6000, 3000, 0 and 1000 images.
    clusters = rng.permutation(np.repeat([0, 1, 3], [6000, 3000, 1000]))
    drawn = draw_over_clusters(clusters, rng)
    assert len(drawn) == 10_000
    counts = np.bincount(clusters[drawn], minlength=4)
    # A third each; five standard deviations of a binomial count.
    assert counts[2] == 0
    assert np.abs(counts[[0, 1, 3]] - 10_000 / 3).max() < 5 * (10_000 * 2 / 9) ** 0.5


def test_features_are_whitened_and_clustered_by_nearest_means(torch, rng):
    from benchmarks.torch_training import cluster

    features = (rng.standard_normal((60, 8)) * [9, 5, 3, 2, 1, 1, 1, 1]).astype(np.float32)
    clusters = cluster(features, 5, seed=1)
    # Rows of U are the whitened features, up to a scale.
    directions = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)[0]
    descriptors = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    means = np.stack([descriptors[clusters == number].mean(axis=0) for number in range(5)])
    distances = np.linalg.norm(descriptors[:, None] - means, axis=2)
    # Where k-means has come to rest, no image is nearer to another cluster's mean.
    np.testing.assert_array_equal(distances.argmin(axis=1), clusters)


@pytest.mark.parametrize(
    ("size", "side", "left"),
    [((100, 60), 32, 14), ((32, 32), 32, 0), ((20, 20), 32, 0)],
)
def test_the_centre_is_cut_out(torch, size, side, left):
    from PIL import Image

    from benchmarks.pillow_loader import central_crop

    # The red value tells the column.
    columns = np.arange(size[0], dtype=np.uint8)
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[..., 0] = columns
    crop = np.asarray(central_crop(Image.fromarray(pixels), side))
    assert crop.shape == (side, side, 3)
    # The shorter side becomes 37 = 32 * 256 / 224, where it is longer than 32.
    width = size[0] * (37 if min(size) > 32 else 32) // min(size)
    first = left * size[0] / width
    assert crop[0, 0, 0] == pytest.approx(first, abs=2)


@pytest.mark.slow
@pytest.mark.long
def test_an_epoch_is_a_line(torch, tmp_path, capfd):
    from benchmarks.torch_training import Settings, train

    textures.write_folders(tmp_path, *textures.textures(16))
    settings = Settings(str(tmp_path), 32, 1 / 16, num_clusters=6, epochs=2, batch_size=16)
    before = train(Settings(str(tmp_path), 32, 1 / 16, num_clusters=6, epochs=0)).state_dict()
    after = train(settings).state_dict()
    records = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [record["epoch"] for record in records] == [1, 2]
    assert set(records[0]["seconds"]) == {"extraction", "clustering", "training"}
    for name, weight in after.items():
        moved = not torch.equal(weight, before[name])
        assert moved != name.startswith("sobel"), name
