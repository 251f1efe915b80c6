"""Features of images that were computed elsewhere."""
