"""Odd image files of all formats, from seeds, and how the product reads them beside Pillow.

PYTHONPATH=.:tests python tests/corpus.py FOLDER      compares the files of a folder
"""

import collections
import io
import pathlib
import struct
import sys
import warnings
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps, PngImagePlugin

from dc_keras.data.pixels.decoding import decode
from dc_keras.data.pixels.limits import MAX_PIXELS, NO_IMAGE, REASONS
from dc_keras.data.pixels.png import PNG
from dc_keras.data.sources.converted import why_not_converted, with_known_start
from encoded_images import chunk, encode, noise

# Adam7: first row and column, and the steps between them.
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
_PASSES = (*_PASSES, (1, 0, 2, 1))
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def corpus(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yields so many files: the name of the format, and the bytes."""
    kinds = [jpeg, png, png_by_hand, gif, bmp, bmp_by_hand, webp, tiff, pnm, jpeg_2000, avif]
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        yield kinds[number % len(kinds)](rng)


def picture(rng, mode="RGB"):
    """Smooth noise of some size and mode."""
    height, width = rng.integers(1, 70, 2)
    pixels = noise(int(height), int(width), int(rng.integers(1 << 30)))
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    image = Image.fromarray(pixels)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(pixels[..., 0]))
    return image.quantize(int(rng.integers(2, 256))) if mode == "P" else image.convert(mode)


def exif(rng):
    """Exif with an orientation, or nothing."""
    found = Image.Exif()
    if rng.random() < 0.5:
        found[0x0112] = int(rng.integers(1, 9))
    return found


def jpeg(rng):
    """Grey, colour and CMYK, baseline and progressive, with all subsamplings and restarts."""
    mode = rng.choice(["L", "RGB", "RGB", "CMYK"])
    options = {
        "quality": int(rng.integers(30, 100)),
        "progressive": bool(rng.random() < 0.4),
        "subsampling": int(rng.integers(0, 3)),
        "exif": exif(rng),
        "restart_marker_blocks": int(rng.integers(0, 4)),
    }
    if mode != "RGB":
        del options["subsampling"]
    return f"JPEG {mode}", encode(picture(rng, mode), "JPEG", **options)


def png(rng):
    """As Pillow writes them: with Exif, gamma and transparent colours."""
    mode = rng.choice(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
    image, info = picture(rng, mode), PngImagePlugin.PngInfo()
    if rng.random() < 0.3:
        info.add(b"gAMA", struct.pack(">I", int(rng.integers(30_000, 100_000))))
    options = {"pnginfo": info, "exif": exif(rng)}
    if rng.random() < 0.5 and mode in ("L", "P", "RGB"):
        value = int(rng.integers(256))
        options["transparency"] = (value, value, value) if mode == "RGB" else value
    return f"PNG {mode}", encode(image, "PNG", **options)


def png_by_hand(rng):
    """All colour types and depths, interlaced or not."""
    kind = int(rng.choice(list(_CHANNELS)))
    depth = int(rng.choice({0: [1, 2, 4, 8, 16], 3: [1, 2, 4, 8]}.get(kind, [8, 16])))
    height, width = (int(side) for side in rng.integers(1, 40, 2))
    values = noise(height, width, int(rng.integers(1 << 30)))[..., : _CHANNELS[kind]]
    if _CHANNELS[kind] == 4:
        values = noise(height, width * 2, 5)[..., :2].reshape(height, width, 4)
    values = values.astype(np.uint32) * 257 >> (16 - depth)
    interlaced = bool(rng.random() < 0.6)
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    data = b"".join(
        b"\0" + _packed(row, depth)
        for top, left, down, right in passes
        for row in values[top::down, left::right]
        if row.size
    )
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    parts = [chunk(b"IHDR", header)]
    if kind == 3:
        parts.append(chunk(b"PLTE", rng.bytes(3 * 2**depth)))
        if rng.random() < 0.5:
            parts.append(chunk(b"tRNS", rng.bytes(int(rng.integers(1, 2**depth + 1)))))
    parts += [chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    return f"PNG {depth} bits{', interlaced' * interlaced}", PNG + b"".join(parts)


def _packed(row, depth):
    """The bytes of a row of numbers of some bits each."""
    if depth == 16:
        return row.astype(">u2").tobytes()
    bits = row.ravel()[:, np.newaxis] >> np.arange(depth - 1, -1, -1) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


def gif(rng):
    """Transparent, interlaced, animated, with frames smaller than the canvas."""
    image = picture(rng, "P")
    options = {"interlace": int(rng.integers(2))}
    if rng.random() < 0.5:
        options["transparency"] = int(rng.integers(8))
    if rng.random() < 0.3:
        options |= {"save_all": True, "append_images": [image.rotate(180)]}
    encoded = bytearray(encode(image, "GIF", **options))
    name = "GIF"
    if rng.random() < 0.3:
        encoded[6:10] = struct.pack("<HH", image.width + 5, image.height + 3)
        name = "GIF on a canvas"
    return name, bytes(encoded)


def bmp(rng):
    """As Pillow writes them."""
    mode = rng.choice(["1", "L", "P", "RGB", "RGBA"])
    return f"BMP {mode}", encode(picture(rng, mode), "BMP")


def bmp_by_hand(rng):
    """1, 4, 8, 16, 24 and 32 bits, of Windows and OS/2, from above and from below, and RLE."""
    bits = int(rng.choice([1, 4, 8, 16, 24, 32]))
    height, width = (int(side) for side in rng.integers(1, 40, 2))
    row_size = (width * bits + 31) // 32 * 4
    data = rng.bytes(row_size * height)
    old = bits not in (16, 32) and rng.random() < 0.3
    from_above = not old and rng.random() < 0.4
    is_rle = bits == 8 and not old and not from_above and rng.random() < 0.3
    if is_rle:
        rows = (bytes([width, int(rng.integers(256)), 0, 0]) for _ in range(height))
        data = b"".join(rows) + b"\0\1"
    palette = rng.bytes((3 if old else 4) * 2**bits) if bits <= 8 else b""
    if old:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        tall = -height if from_above else height
        sizes = (40, width, tall, 1, bits, int(is_rle), len(data), 0, 0, 0, 0)
        header = struct.pack("<IiiHHIIiiII", *sizes)
    start = 14 + len(header) + len(palette)
    opening = struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start)
    name = "BMP RLE" if is_rle else f"BMP {bits} bits{' of OS/2' * old}"
    return name, opening + header + palette + data


def webp(rng):
    """Lossy and lossless, with and without alpha, animated."""
    mode = rng.choice(["RGB", "RGBA"])
    image = picture(rng, mode)
    options = {"lossless": bool(rng.random() < 0.5), "quality": 80, "exact": True}
    name = f"WebP {mode}"
    if rng.random() < 0.3:
        options |= {"save_all": True, "append_images": [image.rotate(180)]}
        name += " animated"
    else:
        options["exif"] = exif(rng)
    return name, encode(image, "WEBP", **options)


def tiff(rng):
    """All modes and compressions, several pages, orientations."""
    mode = rng.choice(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
    compressions = ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"]
    compressions += ["jpeg"] * (mode in ("L", "RGB")) + ["group4", "group3"] * (mode == "1")
    image = picture(rng, mode)
    options = {"compression": str(rng.choice(compressions)), "exif": exif(rng)}
    if rng.random() < 0.2:
        options |= {"save_all": True, "append_images": [image]}
    return f"TIFF {mode}", encode(image, "TIFF", **options)


def pnm(rng):
    """Bits, greys and colours, as numbers and as text, with largest values of all sizes."""
    kind = int(rng.integers(1, 7))
    height, width = (int(side) for side in rng.integers(1, 40, 2))
    largest = 1 if kind in (1, 4) else int(rng.choice([1, 15, 100, 255, 1023, 65535]))
    shape = (height, width, 3 if kind in (3, 6) else 1)
    values = rng.integers(0, largest + 1, shape)
    header = f"P{kind}\n# a comment\n{width} {height}\n" + f"{largest}\n" * (kind not in (1, 4))
    if kind <= 3:
        data = b" ".join(b"%d" % value for value in values.ravel())
    elif kind == 4:
        data = np.packbits(values[..., 0].astype(np.uint8), axis=1).tobytes()
    else:
        data = values.astype(">u2" if largest > 255 else np.uint8).tobytes()
    return f"PNM P{kind}", header.encode() + data


def jpeg_2000(rng):
    """Lossy and lossless."""
    mode = rng.choice(["L", "LA", "RGB", "RGBA"])
    options = {"irreversible": bool(rng.random() < 0.5), "num_resolutions": 1}
    return f"JPEG 2000 {mode}", encode(picture(rng, mode), "JPEG2000", **options)


def avif(rng):
    """With and without alpha and orientation."""
    mode = rng.choice(["L", "RGB", "RGBA"])
    options = {"quality": int(rng.integers(50, 100)), "speed": 10, "exif": exif(rng).tobytes()}
    return f"AVIF {mode}", encode(picture(rng, mode), "AVIF", **options)


def by_pillow(encoded: bytes) -> np.ndarray:
    """How Pillow sees a file: first frame, upright, on white; of 16 bits the upper 8."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(encoded)) as opened:
            image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):
            grey = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255)
            image = Image.fromarray(grey.astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return np.asarray(image.convert("RGB"))


def difference(encoded: bytes) -> float | str:
    """Mean difference to Pillow in grey levels; or why it was refused, or what else is wrong."""
    try:
        image = decode(with_known_start(tf.constant(encoded), MAX_PIXELS)).numpy()
    except tf.errors.OpError as error:
        known = [reason for reason in REASONS if reason in error.message]
        return why_not_converted(encoded, MAX_PIXELS) or (known or ["damaged"])[0]
    try:
        expected = by_pillow(encoded)
    except Exception as error:
        return f"Pillow refuses it: {type(error).__name__}"
    if image.shape != expected.shape:
        return f"WRONG SHAPE {image.shape} for {expected.shape}"
    return float(np.abs(image.astype(int) - expected).mean())


def table(files: Iterable[tuple[str, bytes]]) -> dict[str, collections.Counter]:
    """For each format how many files are the same, close and wrong, and the reasons of refusals."""
    found: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for name, encoded in files:
        told = difference(encoded)
        if isinstance(told, float):
            close = "within 2" if told <= 2 else "WRONG"
            told = "same" if told == 0 else close
        found[name][told] += 1
    return dict(sorted(found.items()))


def main() -> None:
    """Compares the files of a folder, and names those that differ."""
    paths = [path for path in sorted(pathlib.Path(sys.argv[1]).rglob("*")) if path.is_file()]
    for path in paths:
        told = difference(path.read_bytes())
        wrong = told > 2 if isinstance(told, float) else told != NO_IMAGE
        if wrong:
            print(f"{told}: {path}")
    files = ((path.suffix.lower(), path.read_bytes()) for path in paths)
    for name, counts in table(files).items():
        print(f"{name:24}", ", ".join(f"{count} {what}" for what, count in counts.most_common()))


if __name__ == "__main__":
    main()
