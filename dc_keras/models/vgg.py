"""VGG16 with batch normalisation, as DeepCluster uses it.

It differs from the common VGG16-BN in its classifier: dropout only between the two fully connected
layers, and the features are taken from the second one before its ReLU.
"""

import keras

from dc_keras.models.layers import classifier, conv_bn_relu, front_end, scaled

# Channels of the 3x3 convolutions of each block; a 2x2 max-pooling follows every block.
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# Inputs of fc6 at width 1 and 224 pixels.
PUBLISHED_INPUTS = 512 * 7 * 7


def build_vgg16(
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
    """Builds VGG16-BN behind its fixed front-end, with the published initialisation.

    Layers to find by name: `normalize`, `sobel`, `conv1_1` to `conv5_3` (each followed by
    `bn...` and `relu...`), `pool1` to `pool5`, `fc6`, `fc7` (the features, before its ReLU) and
    `head` (the logits).

    Args:
        image_size: Side of the input in pixels, a multiple of 32.
        num_clusters: Outputs of the head.
        width: Multiplies channels and fully connected units; 1.0 is the published network with
            138 million weights at 224 pixels, without the head.
        use_sobel: Whether the network sees gradients (2 channels) or normalised colours (3).
        dropout: Rate between the two fully connected layers.
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
        Simonyan and Zisserman 2015, configuration D; Caron et al. 2018, section 4.
    """
    images, x = front_end(image_size, use_sobel)
    for block, channels in enumerate(BLOCKS, start=1):
        for position, size in enumerate(channels, start=1):
            x = conv_bn_relu(x, scaled(size, width), f"{block}_{position}", seed)
        x = keras.layers.MaxPooling2D(2, name=f"pool{block}")(x)
    x = classifier(
        x,
        num_clusters,
        published_inputs=PUBLISHED_INPUTS,
        width=width,
        dropout=dropout,
        dropout_at_start=False,
        scaled_init=scaled_fc_init,
        fc_norm=fc_norm,
        projection=projection,
        temperature=temperature,
        seed=seed,
    )
    return keras.Model(images, x, name="vgg16_bn")
