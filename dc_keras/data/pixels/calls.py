"""Parts of decoding that a pipeline takes up only when an image needs them.

Each iterator of a pipeline takes its graph up anew, with the branches that no image takes: with all
formats in one, iterators over PNG took up to twice as long to begin. A call of its own is taken up
when it is first made.
"""

from collections.abc import Callable

import tensorflow as tf

ENCODED, NUMBER, RANGE = (
    tf.TensorSpec([], tf.string),
    tf.TensorSpec([], tf.int32),
    tf.TensorSpec([2], tf.int32),
)


def call_of_its_own(*signature: tf.TensorSpec) -> Callable[[Callable], Callable]:
    """Keeps a function of tensors as a call in the graphs that use it; it is traced once.

    Args:
        *signature: Of each of its arguments.
    """
    return tf.function(
        input_signature=signature,
        autograph=False,
        experimental_attributes={"_noinline": True},
    )
