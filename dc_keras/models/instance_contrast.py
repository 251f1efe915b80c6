"""Telling images from each other by some views of each: the signal that clusters alone lack.

Pseudo-labels say what the features already hold. On few images the loop then feeds on what a random
network sees: colours and edges. An image's other view is a target that does not come from the
features, and is never out of date.
"""

import tensorflow as tf


def instance_contrast(
    features: tf.Tensor, labels: tf.Tensor, temperature: float, views: int = 2
) -> tf.Tensor:
    """Cross-entropy of finding the other views of an image among a batch.

    Within a distribution strategy the batch is that of all replicas together, so that the loss does
    not depend on their number.

    Views of an image stand one behind the other: of two, rows 0 and 1, rows 2 and 3, and so on.
    Each of the others is looked for by itself, among views of other images. Images of the same
    cluster, among them an image that was drawn twice, are not told apart.

    Args:
        features: Floats `(views m, d)`; their lengths do not matter.
        labels: Cluster of each row, integers `(views m,)`, the same for all views of an image.
        temperature: Divides the cosine similarities.
        views: Of each image, at least 2.

    Returns:
        The loss of each row, the mean over the views it looks for, float32 `(views m,)`. Memory and
        time grow with the square of the batch.

    >>> views = tf.constant([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> bool(tf.reduce_max(instance_contrast(views, tf.constant([0, 0, 1, 1]), 0.1)) < 0.01)
    True

    Reference:
        Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations",
        equation 1; beside clusters as in Li et al. 2021, "Prototypical Contrastive Learning of
        Unsupervised Representations", without its momentum encoder.
    """
    features = tf.math.l2_normalize(tf.cast(features, tf.float32), axis=1)
    candidates, candidate_labels, first = _of_all_replicas(features, labels)
    similarities = tf.matmul(features, candidates, transpose_b=True) / temperature
    rows = first + tf.range(tf.shape(features)[0])
    others = tf.range(tf.shape(candidates)[0])
    of_image = rows[:, tf.newaxis] // views == others // views
    is_other_view = of_image & (rows[:, tf.newaxis] != others)
    left_out = labels[:, tf.newaxis] == candidate_labels
    rivals = tf.where(left_out, similarities.dtype.min, similarities)
    of_rivals = tf.reduce_logsumexp(rivals, axis=1, keepdims=True)
    # -log(exp(a) / (exp(a) + exp(b))) is softplus(b - a).
    losses = tf.where(is_other_view, tf.nn.softplus(of_rivals - similarities), 0.0)
    return tf.reduce_sum(losses, axis=1) / (views - 1)


def _of_all_replicas(
    features: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Features and labels of the whole batch, and where those of this replica begin in it.

    Gradients go back to the replicas that features come from. Every replica has as many rows.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return features, labels, tf.constant(0)
    first = context.replica_id_in_sync_group * tf.shape(features)[0]
    # Of several machines it asks for the device of what it gathers, which arguments do not have.
    features, labels = (
        context.all_gather(tf.identity(values), axis=0) for values in (features, labels)
    )
    return features, labels, first
