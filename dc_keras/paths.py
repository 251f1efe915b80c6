"""Paths that may be on file systems that TensorFlow alone can read."""

import os


def is_remote(path: str) -> bool:
    """Whether a path is for TensorFlow's file systems alone, such as gs://bucket/folder."""
    return "://" in path


def absolute(path: str) -> str:
    """The path as it holds from any working directory."""
    return path if is_remote(path) else os.path.abspath(path)


def is_absolute(path: str) -> bool:
    """Whether a path is the same wherever it is read from."""
    return path.startswith("/") or is_remote(path)
