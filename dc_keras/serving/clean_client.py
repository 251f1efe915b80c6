"""Asks a SavedModel what it answers, with TensorFlow alone: a program of its own.

    python -I clean_client.py MODEL REQUESTS ANSWERS

MODEL is the folder of a SavedModel, REQUESTS one of files whose names sort in the order of the
images, ANSWERS the .npz file to write: each output as `SIGNATURE/OUTPUT`. `dc-keras serve-check`
starts it, so that nothing of this package is there to help.
"""

import pathlib
import sys
import time

import numpy as np
import tensorflow as tf


def main(model: str, requests: str, answers: str) -> None:
    """Answers all requests in one batch, by each signature that takes bytes."""
    encoded = [path.read_bytes() for path in sorted(pathlib.Path(requests).iterdir())]
    started = time.monotonic()
    signatures = tf.saved_model.load(model).signatures
    print(f"Loaded in {time.monotonic() - started:.1f} s")
    found = {}
    for name, signature in signatures.items():
        if "image_bytes" not in signature.structured_input_signature[1]:
            continue
        answer = signature(image_bytes=tf.constant(encoded))
        for output, values in answer.items():
            array = values.numpy()
            # Objects would have to be pickled.
            found[f"{name}/{output}"] = array.astype("S") if array.dtype == object else array
    np.savez(answers, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
