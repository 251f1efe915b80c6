"""Images by index: where they come from, how they become pixels, and in which batches they go.

`sources` gives every image its stable index and reads it, `pixels` decodes, crops and augments, and
`batches` puts images together: in order for features, drawn over the clusters for training.
"""
