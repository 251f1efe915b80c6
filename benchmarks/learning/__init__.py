"""What configurations learn at equal compute: `python -m benchmarks.learning.run --help`."""
