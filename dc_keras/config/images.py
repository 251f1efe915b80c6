"""Flags that tell how images are read, of all programs that read some."""

import re

from dc_keras.config.flags import flag

FITS = ("crop", "crop_large", "pad", "squash")
MAX_PIXELS = 178_956_970
# TensorFlow's decoders read no more.
_MOST_PIXELS = 2**29 - 1
_LARGEST = 2**16 - 1


def value_range_flag(otherwise: str) -> str:
    """Declares --value_range.

    Args:
        otherwise: What holds where it is not given.
    """
    return flag(
        "",
        "LOW,HIGH: the values of 16-bit images that become black and white, such as 0,4095 for a "
        f"camera of 12 bits. Not given: {otherwise}.",
    )


def max_pixels_flag(default: int = MAX_PIXELS, otherwise: str = "") -> int:
    """Declares --max_pixels.

    Args:
        default: Its value when it is not given.
        otherwise: What the default stands for.
    """
    return flag(
        default,
        "Images that declare more pixels are counted as unreadable. A decoded image takes 3 bytes "
        f"a pixel, several at a time, and 12 while it is resized.{otherwise}",
        at_least=0 if default == 0 else 1,
        at_most=_MOST_PIXELS,
    )


def value_range(text: str) -> tuple[int, int] | None:
    """The range that a --value_range names, or None for an empty one.

    >>> value_range("290,370"), value_range("")
    ((290, 370), None)
    """
    if not text:
        return None
    low, high = map(int, text.split(","))
    return low, high


def wrong_value_range(text: str) -> list[str]:
    """What is wrong with a --value_range, a message or none."""
    if not text:
        return []
    match = re.fullmatch(r"\s*(\d{1,5})\s*,\s*(\d{1,5})\s*", text)
    if match and int(match[1]) < int(match[2]) <= _LARGEST:
        return []
    return [
        f"Invalid --value_range. Received: {text}. Expected LOW,HIGH: two whole numbers from 0 to "
        f"{_LARGEST}, the lower one first, such as 0,4095."
    ]
