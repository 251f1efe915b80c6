"""Where the images come from: folders, arrays, TFRecord shards, packed folders, TFDS.

Every stage of the loop names an image by its index, the position in a source's sorted listing.
A source turns that index into encoded bytes or pixels inside a tf.data pipeline. Class labels,
where the source has them, serve evaluation alone.
"""
