"""From the bytes of an image file to the crops that the network sees."""
