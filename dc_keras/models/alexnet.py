"""AlexNet with batch normalisation, as DeepCluster uses it.

It differs from the first AlexNet: batch norm after every convolution instead of local response
normalisation, no groups, 96-256-384-384-256 channels, and the features are taken from the second
fully connected layer before its ReLU.
"""

import keras

from dc_keras.models.blocks import classifier, conv_bn_relu, front_end, scaled
from dc_keras.models.options import NetworkOptions

# Inputs of fc6 at width 1 and 224 pixels.
PUBLISHED_INPUTS = 256 * 6 * 6


def build_alexnet(options: NetworkOptions, num_clusters: int) -> keras.Model:
    """Builds AlexNet-BN behind its fixed front-end, with the published initialisation.

    Layers to find by name: `normalize`, `sobel`, `conv1` to `conv5` (each followed by `bn...` and
    `relu...`), `pool1`, `pool2`, `pool5`, `fc6`, `fc7` (the features, before its ReLU) and `head`
    (the logits).

    Args:
        options: Its size and kind. At width 1 it is the published network with 58 million weights
            at 224 pixels, without the head.
        num_clusters: Outputs of the head.

    Returns:
        A functional model from uint8 images `(n, image_size, image_size, 3)` to float logits
        `(n, num_clusters)`.

    Reference:
        Krizhevsky et al. 2012; Caron et al. 2018, section 4.
    """
    images, x = front_end(options)

    def pool(x, name):
        return keras.layers.MaxPooling2D(3, strides=2, name=name)(x)

    # With padding="same" TensorFlow would put conv1's zeros elsewhere, and give 56x56 for 55x55.
    x = keras.layers.ZeroPadding2D(2, name="pad1")(x)
    x = conv_bn_relu(
        x, scaled(96, options.width), "1", options.seed, size=11, strides=4, padding="valid"
    )
    x = pool(x, "pool1")
    x = conv_bn_relu(x, scaled(256, options.width), "2", options.seed, size=5)
    x = pool(x, "pool2")
    x = conv_bn_relu(x, scaled(384, options.width), "3", options.seed)
    x = conv_bn_relu(x, scaled(384, options.width), "4", options.seed)
    x = conv_bn_relu(x, scaled(256, options.width), "5", options.seed)
    x = pool(x, "pool5")
    x = classifier(
        x, num_clusters, options, published_inputs=PUBLISHED_INPUTS, dropout_at_start=True
    )
    return keras.Model(images, x, name="alexnet_bn")
