"""Batches of images: all of them in order for their features, or drawn over clusters to train."""
