"""Measurements: speed of the stages, and what configurations learn."""
