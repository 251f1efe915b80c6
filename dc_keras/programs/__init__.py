"""The programs: flags in, one call, and in plain words what came of it.

Nothing else in the package imports them.
"""
