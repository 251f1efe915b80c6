"""Images by index: where they come from, which are readable, and how they become pixels.

`sources` opens a data set (a folder, arrays, `tfrecords`, or `array_records` that `pack` wrote) and
gives every image its stable index, `inspection` finds the files that cannot be decoded before
training starts, `preprocessing` turns encoded bytes into the crops that clustering and training
see, and `balanced` draws training images uniformly over the clusters.
"""
