"""AlexNet with batch normalisation, as DeepCluster uses it.

It differs from the first AlexNet: batch norm after every convolution instead of local response
normalisation, no groups, 96-256-384-384-256 channels, and the features are taken from the second
fully connected layer before its ReLU.
"""

import keras

from dc_keras.models.layers import classifier, conv_bn_relu, front_end, scaled

# Inputs of fc6 at width 1 and 224 pixels.
PUBLISHED_INPUTS = 256 * 6 * 6


def build_alexnet(
    image_size: int,
    num_clusters: int,
    *,
    width: float = 1.0,
    use_sobel: bool = True,
    dropout: float = 0.5,
    scaled_fc_init: bool = False,
    fc_norm: bool = False,
    projection: int = 0,
    temperature: float | None = None,
    seed: int = 31,
) -> keras.Model:
    """Builds AlexNet-BN behind its fixed front-end, with the published initialisation.

    Layers to find by name: `normalize`, `sobel`, `conv1` to `conv5` (each followed by `bn...` and
    `relu...`), `pool1`, `pool2`, `pool5`, `fc6`, `fc7` (the features, before its ReLU) and `head`
    (the logits).

    Args:
        image_size: Side of the input in pixels, at least 63, which leave 1x1 maps for fc6.
        num_clusters: Outputs of the head.
        width: Multiplies channels and fully connected units; 1.0 is the published network with
            58 million weights at 224 pixels, without the head.
        use_sobel: Whether the network sees gradients (2 channels) or normalised colours (3).
        dropout: Rate before each of the two fully connected layers.
        scaled_fc_init: Whether fully connected layers start from `fc_stddev` instead of 0.01.
        fc_norm: Whether batch norm follows fc6 and fc7; the features are then its output.
        projection: Outputs of two more layers behind fc7, of which the last is `projection`: what
            clusters and head see then; 0 for none.
        temperature: Of a cosine head in place of the linear one; None for that.
        seed: Initial weights derive from it.

    Returns:
        A functional model from uint8 images `(n, image_size, image_size, 3)` to float logits
        `(n, num_clusters)`.

    Reference:
        Krizhevsky et al. 2012; Caron et al. 2018, section 4.
    """
    images, x = front_end(image_size, use_sobel)

    def pool(x, name):
        return keras.layers.MaxPooling2D(3, strides=2, name=name)(x)

    # With padding="same" TensorFlow would put conv1's zeros elsewhere, and give 56x56 for 55x55.
    x = keras.layers.ZeroPadding2D(2, name="pad1")(x)
    x = conv_bn_relu(x, scaled(96, width), "1", seed, size=11, strides=4, padding="valid")
    x = pool(x, "pool1")
    x = conv_bn_relu(x, scaled(256, width), "2", seed, size=5)
    x = pool(x, "pool2")
    x = conv_bn_relu(x, scaled(384, width), "3", seed)
    x = conv_bn_relu(x, scaled(384, width), "4", seed)
    x = conv_bn_relu(x, scaled(256, width), "5", seed)
    x = pool(x, "pool5")
    x = classifier(
        x,
        num_clusters,
        published_inputs=PUBLISHED_INPUTS,
        width=width,
        dropout=dropout,
        dropout_at_start=True,
        scaled_init=scaled_fc_init,
        fc_norm=fc_norm,
        projection=projection,
        temperature=temperature,
        seed=seed,
    )
    return keras.Model(images, x, name="alexnet_bn")
