"""Retrieval: whether images of the same thing are found among others by their last feature maps."""
