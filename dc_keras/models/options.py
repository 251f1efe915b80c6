"""What a network is made like."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """What tells one network from another, but for the number of its outputs.

    Attributes:
        image_size: Side of the input in pixels: a multiple of 32 for "vgg16", of 8 for "compact",
            at least 63 for "alexnet".
        arch: "vgg16", "alexnet" or "compact".
        width: Multiplies channels and fully connected units; 1 is published.
        use_sobel: Whether the network sees gradients (2 channels) or normalised colours (3).
        whitened_patches: Side of the patches that a fixed first layer whitens, in place of Sobel
            filters; 0 for no such layer.
        dropout: Rate between the last two fully connected layers, of "alexnet" before both.
        scaled_fc_init: Whether fully connected layers start from `fc_stddev` instead of 0.01.
        fc_norm: Whether batch norm follows the fully connected layers, and makes the features.
        temperature: Of a cosine head in place of the linear one; None for that.
        seed: Initial weights derive from it.
    """

    image_size: int
    arch: str = "vgg16"
    width: float = 1.0
    use_sobel: bool = True
    whitened_patches: int = 0
    dropout: float = 0.5
    scaled_fc_init: bool = False
    fc_norm: bool = False
    temperature: float | None = None
    seed: int = 31
