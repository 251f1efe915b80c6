"""A network for small images: convolutions as VGG's, fewer poolings, and the mean of the last map.

At 32 pixels the published networks spend most of their work on maps of two pixels and on fully
connected layers. Here the last maps have an eighth of the image's side. Their mean over all places
is what an image is described by, so that the network takes images of any size. A projection stands
between these features and the head: what the loss wants to be forgotten, such as colours, need not
leave the features.

Reference:
    Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations",
    section 4.2, for the projection.
"""

import keras

from dc_keras.models.blocks import (
    batch_norm,
    conv_bn_relu,
    dropout,
    front_end,
    fully_connected,
    head,
    scaled,
)
from dc_keras.models.options import NetworkOptions

# Channels of the 3x3 convolutions of each block; a 2x2 max-pooling stands between two blocks.
BLOCKS = ((64,), (128, 128), (256, 256), (512, 512))
# Units of the projection at width 1.
PROJECTION = (1408, 352)


def build_compact(options: NetworkOptions, num_clusters: int) -> keras.Model:
    """Builds the network behind its fixed front-end.

    Layers to find by name: `normalize`, `sobel` or `patches`, `conv1_1` (where there are no
    `patches`, which take its place) to `conv4_2`, each followed by `bn...` and `relu...`, `pool1`
    to `pool3`, `mean`, `fc7` (the features, named as those of the published networks), `projection`
    and `head` (the logits).

    Args:
        options: Its size and kind. `fc_norm` gives the features, and the layers of the projection,
            batch norm.
        num_clusters: Outputs of the head.

    Returns:
        A functional model from uint8 images `(n, image_size, image_size, 3)` to float logits
        `(n, num_clusters)`.
    """
    images, x = front_end(options)
    # Whitened patches stand for the first convolution.
    first = () if options.whitened_patches else BLOCKS[0]
    for block, channels in enumerate((first, *BLOCKS[1:]), start=1):
        for position, size in enumerate(channels, start=1):
            x = conv_bn_relu(x, scaled(size, options.width), f"{block}_{position}", options.seed)
        if block < len(BLOCKS):
            x = keras.layers.MaxPooling2D(2, name=f"pool{block}")(x)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    if options.fc_norm:
        x = batch_norm(x, "fc7")
    else:
        x = keras.layers.Identity(name="fc7")(x)
    hidden, outputs = (scaled(units, options.width) for units in PROJECTION)
    x = fully_connected(x, hidden, "projection_hidden", options)
    x = keras.layers.ReLU(name="projection_relu")(x)
    x = dropout(x, "dropout", options)
    x = fully_connected(x, outputs, "projection", options)
    return keras.Model(images, head(x, num_clusters, options), name="compact")
