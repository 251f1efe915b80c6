"""Weights of the published PyTorch code as runs, and back. PyTorch itself only reads files."""
