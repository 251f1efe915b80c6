"""The folder of a run: what it holds, how it is written, and who may write into it."""
