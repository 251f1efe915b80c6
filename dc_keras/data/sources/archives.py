"""Images in a zip or tar archive, read at their places without unpacking it."""

import os
import weakref
import zlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dc_keras.data.sources.archive_index import Member
from dc_keras.data.sources.converted import with_known_start
from dc_keras.data.sources.image_source import ImageSource


class OpenArchive:
    """An archive whose files are read by any number of threads. Its descriptor stays open.

    Args:
        path: A local file.
    """

    def __init__(self, path: str):
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, member: Member) -> bytes:
        """The bytes of a file in the archive.

        Raises:
            tf.errors.DataLossError: If they are not what the index says.
        """
        data = self._stored(member.offset, member.stored)
        if member.deflated:
            # One byte more than there should be, so that more is noticed and never unpacked.
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                data = unpacker.decompress(data, member.size + 1)
            except zlib.error as error:
                raise _damaged("is damaged") from error
            if len(data) != member.size or not unpacker.eof:
                raise _damaged("has another size than its index says")
        if member.checksum is not None and zlib.crc32(data) != member.checksum:
            raise _damaged("is damaged: its checksum differs")
        return data

    def start(self, member: Member, size: int) -> bytes:
        """At most so many of the first bytes.

        Raises:
            tf.errors.DataLossError: If they cannot be read.
        """
        if not member.deflated:
            return self._stored(member.offset, min(size, member.stored))
        # Twice as many hold the tables of codes as well.
        packed = self._stored(member.offset, min(2 * size + 1024, member.stored))
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size)
        except zlib.error as error:
            raise _damaged("is damaged") from error

    def _stored(self, offset: int, size: int) -> bytes:
        try:
            parts, missing = [], size
            # A read gives 2 GiB at most, and less on some network drives.
            while missing and (part := os.pread(self._descriptor, missing, offset)):
                parts.append(part)
                offset, missing = offset + len(part), missing - len(part)
        except OSError as error:
            raise _damaged(f"cannot be read: {error.strerror}") from error
        if missing:
            raise _damaged("is cut off")
        return b"".join(parts)


class ArchiveSource(ImageSource):
    """Images in an archive. Memory: about 400 bytes an image.

    Reading goes through Python, whose lock is let go while bytes are read and unpacked.
    """

    def __init__(
        self,
        archive: OpenArchive,
        members: Sequence[Member],
        common: str,
        names: Sequence[str],
        labels: np.ndarray | None = None,
        class_names: tuple[str, ...] | None = None,
    ):
        """Makes a source of known files; `open_source` is the one that searches for them.

        Args:
            archive: Where they are.
            members: n of its files.
            common: The folder that all of them lie in, with "/" behind; empty if there is none.
            names: Their paths in the archive.
            labels: int32 (n,) or None.
            class_names: Names of the classes or None.
        """
        super().__init__(names, labels, class_names)
        self.common = common
        self._archive = archive
        self._members = tuple(members)

    def load(self, index: tf.Tensor) -> tf.Tensor:
        """Reads the encoded file, as PNG if Pillow alone reads it; see `ImageSource.load`."""
        encoded = tf.numpy_function(self.read, [index], tf.string)
        return with_known_start(tf.ensure_shape(encoded, []), self.options.max_pixels)

    def read(self, index: int) -> bytes:
        """The bytes of one image.

        Raises:
            tf.errors.DataLossError: If the archive is damaged at this place.
        """
        return self._archive.read(self._members[int(index)])

    def _some(self, keep: np.ndarray) -> "ArchiveSource":
        """The source of some of the images; see `ImageSource.select`."""
        members = [self._members[index] for index in keep]
        return ArchiveSource(self._archive, members, self.common, *self.names_and_labels(keep))


def _damaged(problem: str) -> tf.errors.DataLossError:
    return tf.errors.DataLossError(None, None, f"the file in the archive {problem}")
