"""VGG16 with batch normalisation, as DeepCluster uses it.

It differs from the common VGG16-BN in its classifier: dropout only between the two fully connected
layers, and the features are taken from the second one before its ReLU.
"""

import keras

from dc_keras.models.blocks import classifier, conv_bn_relu, front_end, scaled
from dc_keras.models.options import NetworkOptions

# Channels of the 3x3 convolutions of each block; a 2x2 max-pooling follows every block.
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# Inputs of fc6 at width 1 and 224 pixels.
PUBLISHED_INPUTS = 512 * 7 * 7


def build_vgg16(options: NetworkOptions, num_clusters: int) -> keras.Model:
    """Builds VGG16-BN behind its fixed front-end, with the published initialisation.

    Layers to find by name: `normalize`, `sobel`, `conv1_1` to `conv5_3` (each followed by
    `bn...` and `relu...`), `pool1` to `pool5`, `fc6`, `fc7` (the features, before its ReLU) and
    `head` (the logits).

    Args:
        options: Its size and kind. At width 1 it is the published network with 134 million weights
            at 224 pixels, without the head.
        num_clusters: Outputs of the head.

    Returns:
        A functional model from uint8 images `(n, image_size, image_size, 3)` to float logits
        `(n, num_clusters)`.

    Reference:
        Simonyan and Zisserman 2015, configuration D; Caron et al. 2018, section 4.
    """
    images, x = front_end(options)
    for block, channels in enumerate(BLOCKS, start=1):
        for position, size in enumerate(channels, start=1):
            x = conv_bn_relu(x, scaled(size, options.width), f"{block}_{position}", options.seed)
        x = keras.layers.MaxPooling2D(2, name=f"pool{block}")(x)
    x = classifier(
        x, num_clusters, options, published_inputs=PUBLISHED_INPUTS, dropout_at_start=False
    )
    return keras.Model(images, x, name="vgg16_bn")
