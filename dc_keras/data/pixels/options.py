"""How files become pixels, and pixels squares, where neither the file nor the network says it."""

import dataclasses

from dc_keras.data.pixels.limits import MAX_PIXELS

# The values that 16 bits can have: of such a range the upper 8 bits are the image.
ALL_OF_16_BITS = (0, 65535)


# The two ways of cutting: as published, where every image is cut, and only what is larger than the
# network's input.
CROP, CROP_LARGE = "crop", "crop_large"
CROPS = (CROP, CROP_LARGE)


@dataclasses.dataclass(frozen=True)
class PixelOptions:
    """What a data set is read with; it stays with the source of the images.

    Attributes:
        value_range: The values of 16-bit images that become black and white; those between them
            are scaled, those outside are clipped. None where nobody knows: then all values.
        max_pixels: Images that declare more are refused before they are decoded.
        fit: How an image that is no square becomes one; see `squares` and `center_crop`.
        portable: Whether graphs have to work in other processes, as exported models do.
    """

    value_range: tuple[int, int] | None = None
    max_pixels: int = MAX_PIXELS
    fit: str = CROP_LARGE
    portable: bool = False


USUAL = PixelOptions()
