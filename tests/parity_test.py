"""The same numbers as a plain PyTorch model with the same weights: activations, gradients, steps.

Gradients and steps are compared in float64. In float32 either library's rounding decides here and
there whether a ReLU passes its value or which value a pooling takes, and each such decision changes
the gradients of all layers below: for VGG16 with batches of 16 both libraries are 0.2 to 3 % away
from the gradient in float64, and from each other.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import torch_networks
from dc_keras.data.pixels.center_crop import preprocess_for_clustering
from dc_keras.machine import precision_of_layers
from dc_keras.models.architectures import build_network
from dc_keras.models.coupled_sgd import CoupledSGD
from dc_keras.models.deepcluster import DeepCluster
from dc_keras.models.feature_extractor import feature_model
from dc_keras.models.options import NetworkOptions
from dc_keras.pytorch.state_dict import load_state_dict, to_state_dict
from repository import DATA_SETS

PHOTOS = DATA_SETS / "photos"
CLUSTERS = 7
ARCHITECTURES = pytest.mark.parametrize("arch", ["vgg16", "alexnet"])


def pair(arch, image_size, **options):
    """A PyTorch network and the Keras network with its weights."""
    theirs = torch_networks.build(arch, image_size, CLUSTERS, **options)
    ours = build_network(
        NetworkOptions(
            image_size=image_size,
            arch=arch,
            width=options.get("width", 1.0),
            use_sobel=options.get("sobel", True),
            dropout=options.get("dropout", 0.5),
        ),
        CLUSTERS,
    )
    load_state_dict(ours, torch_networks.arrays(theirs))
    return theirs, ours


def channels_last(array):
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def assert_close(got, want, relative, what):
    """The largest difference, in units of the largest value."""
    difference = np.abs(np.asarray(got) - want).max() / np.abs(want).max()
    assert difference <= relative, f"{what}: {difference:.1e}"


def assert_same_activations(theirs, ours, images):
    """Compares the output of every layer, the front-end included."""
    import torch

    seen = []
    for name, module in theirs.named_modules():
        if not list(module.children()):
            module.register_forward_hook(
                lambda _, __, output, name=name: seen.append((name, output.numpy().copy()))
            )
    pixels = torch_networks.normalized(images, theirs)
    with torch.no_grad():
        theirs.eval()(pixels)
    # Grey is a step inside the Keras layer. AlexNet's first dropout, which does nothing here, sees
    # the flattened maps, whose order differs.
    left_out = ["sobel.0", "classifier.0" if "dropout5" in [x.name for x in ours.layers] else ""]
    wanted = [("pixels", pixels.numpy()), *(item for item in seen if item[0] not in left_out)]
    layers = [
        layer.name
        for layer in ours.layers
        if not isinstance(
            layer, keras.layers.InputLayer | keras.layers.ZeroPadding2D | keras.layers.Flatten
        )
        and layer.name != "dropout5"
    ]
    outputs = feature_model(ours, *layers)(images, training=False)
    assert len(layers) > 20
    for layer, output, (name, want) in zip(layers, outputs, wanted, strict=True):
        assert_close(output, channels_last(want), 1e-4, f"{layer} and {name}")


@pytest.mark.parametrize(
    ("arch", "sobel"), [("vgg16", True), ("alexnet", True), ("alexnet", False)]
)
def test_every_activation_at_224_pixels(torch, rng, arch, sobel):
    theirs, ours = pair(arch, 224, width=0.125, sobel=sobel)
    images = rng.integers(0, 256, (2, 224, 224, 3), dtype="uint8")
    assert_same_activations(theirs, ours, images)


@ARCHITECTURES
@pytest.mark.slow
@pytest.mark.long
def test_every_activation_of_the_published_width(torch, rng, arch):
    theirs, ours = pair(arch, 224)
    assert_same_activations(theirs, ours, rng.integers(0, 256, (1, 224, 224, 3), dtype="uint8"))


@pytest.mark.parametrize("image_size", [63, 64, 95, 100, 127])
def test_alexnet_of_any_image_size(torch, rng, image_size):
    theirs, ours = pair("alexnet", image_size, width=0.0625)
    images = rng.integers(0, 256, (2, image_size, image_size, 3), dtype="uint8")
    assert_same_activations(theirs, ours, images)


@pytest.fixture
def batches(rng):
    images = rng.integers(0, 256, (3, 16, 64, 64, 3), dtype="uint8")
    return images, rng.integers(0, CLUSTERS, (3, 16)).astype("int32")


@pytest.fixture
def float64():
    """Makes Keras build in float64."""
    with precision_of_layers("float64"):
        yield


def torch_loss(theirs, images, labels):
    import torch

    logits = theirs.train()(torch_networks.normalized(images, theirs))
    return torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels).long())


@ARCHITECTURES
def test_gradients(torch, batches, float64, arch):
    images, labels = batches[0][0], batches[1][0]
    theirs, ours = pair(arch, 64, width=0.0625, dropout=0.0)
    theirs.double()
    torch_loss(theirs, images, labels).backward()
    with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, ours(images, training=True))
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, ours.trainable_variables)
    # In place of the weights, gradients get PyTorch's names and shapes.
    for variable, gradient in zip(ours.trainable_variables, gradients, strict=True):
        variable.assign(gradient)
    got = to_state_dict(ours)
    checked = 0
    for name, parameter in theirs.named_parameters():
        if parameter.requires_grad and not is_conv_bias(theirs, name):
            # The names are given in float32.
            assert_close(got[name], parameter.grad.numpy(), 1e-6, name)
            checked += 1
    assert checked == {"vgg16": 13 * 3 + 6, "alexnet": 5 * 3 + 6}[arch]


def is_conv_bias(network, name):
    """Biases before a batch norm, whose gradient is zero but for rounding."""
    import torch

    module, _, kind = name.rpartition(".")
    return kind == "bias" and isinstance(network.get_submodule(module), torch.nn.Conv2d)


@ARCHITECTURES
def test_three_steps_of_both_optimizers(torch, batches, float64, arch):
    """Weights, running statistics and losses after three steps with momentum and weight decay.

    PyTorch's running variance is that of the population estimated from the batch: n / (n - 1) of
    the batch's own, which Keras takes, with n values a channel (images times positions).
    """
    learning_rate, momentum, decay, steps = 0.05, 0.9, 1e-3, 3
    size = {"vgg16": 32, "alexnet": 64}[arch]
    batches = (batches[0][:, :, :size, :size], batches[1])
    theirs, ours = pair(arch, size, width=0.0625, dropout=0.0)
    theirs.double()
    before = torch_networks.arrays(theirs)
    body = [p for n, p in theirs.named_parameters() if p.requires_grad and "top_layer" not in n]
    optimizers = [
        torch.optim.SGD(body, lr=learning_rate, momentum=momentum, weight_decay=decay),
        torch.optim.SGD(theirs.top_layer.parameters(), lr=learning_rate, weight_decay=decay),
    ]
    model = DeepCluster(ours.input, ours.output)
    model.compile(CoupledSGD(learning_rate, momentum, decay), CoupledSGD(learning_rate, 0.0, decay))
    values_a_channel = {}
    for name, module in theirs.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(
                lambda _, __, output, name=name: values_a_channel.update(
                    {name: output.numel() // output.shape[1]}
                )
            )
    losses = []
    for images, labels in zip(*batches, strict=True):
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = torch_loss(theirs, images, labels)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
    model.run_eagerly = arch == "vgg16"  # where tracing takes longer than the steps
    history = model.fit(tf.data.Dataset.from_tensor_slices(batches), shuffle=False, verbose=0)

    assert history.history["loss"][0] == pytest.approx(np.mean(losses), abs=1e-5)
    got, want = to_state_dict(model), torch_networks.arrays(theirs)
    assert got.keys() == want.keys()
    for name, expected in want.items():
        if name.endswith("running_var"):
            # It keeps 0.9 of its start in each step; the rest is that of the batches.
            n, kept = values_a_channel[name.removesuffix(".running_var")], 0.9**steps
            rest = got[name] - kept * before[name]
            expected = expected - kept * before[name]
            assert_close(rest * n / (n - 1), expected, 1e-5, name)
        else:
            np.testing.assert_allclose(got[name], expected, atol=1e-5, err_msg=name)
    assert min(values_a_channel.values()) <= 144  # where the factor is far above the tolerance
    moved = [np.abs(want[name] - before[name]).max() for name in want if "sobel" not in name]
    assert min(moved) > 0 and np.median(moved) > 1e-3


def pillow_crop(path):
    """Resize(256) and CenterCrop(224) as torchvision does them; uint8 (224, 224, 3)."""
    image = Image.open(path).convert("RGB")
    width, height = image.size
    short = min(width, height)
    image = image.resize((256 * width // short, 256 * height // short), Image.Resampling.BILINEAR)
    left, top = round((image.width - 224) / 2), round((image.height - 224) / 2)
    return np.asarray(image.crop((left, top, left + 224, top + 224)))


def assert_same_features_of_files(paths):
    """From the same JPEG files through both decoders, resizers and networks to fc7."""
    import torch

    theirs, ours = pair("alexnet", 224, width=0.25)
    theirs_pixels = np.stack([pillow_crop(path) for path in paths])
    ours_pixels = np.stack(
        [preprocess_for_clustering(tf.constant(path.read_bytes()), 224) for path in paths]
    )
    difference = np.abs(ours_pixels.astype(int) - theirs_pixels)
    assert difference.max() <= 1 and difference.mean() < 0.25
    with torch.no_grad():
        pixels = torch_networks.normalized(theirs_pixels, theirs)
        theirs.classifier = theirs.classifier[:-1]  # features are before the last ReLU
        maps = theirs.eval().features(theirs.sobel(pixels))
        want = theirs.classifier(maps.flatten(1)).numpy()
    got = np.asarray(feature_model(ours, "fc7")(ours_pixels, training=False))
    cosine = (got * want).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(want, axis=1)
    relative = np.linalg.norm(got - want, axis=1) / np.linalg.norm(want, axis=1)
    # A sixth of the pixels differ by 1 of 255, which moved features by 0.4 to 0.6 % when measured.
    assert relative.max() < 0.01 and cosine.min() > 0.9999


def test_features_of_a_jpeg(torch, tmp_path, rng):
    y, x = np.mgrid[:333, :500]
    waves = [np.sin(x / 9 + y / 31), np.cos(x / 40 - y / 7), np.sin(np.hypot(x - 200, y - 90) / 6)]
    pixels = 128 + 70 * np.stack(waves, -1) + rng.normal(0, 12, (333, 500, 3))
    Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(tmp_path / "a.jpg", quality=90)
    Image.fromarray(pixels[:250, :240].clip(0, 255).astype("uint8")).save(tmp_path / "b.jpg")
    assert_same_features_of_files([tmp_path / "a.jpg", tmp_path / "b.jpg"])


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs photos in DC_KERAS_DATA_SETS")
def test_features_of_photographs(torch):
    assert_same_features_of_files(sorted(PHOTOS.glob("*.jpg"))[:3])
