"""Several machines that train one run: TensorFlow's collectives, and what all must agree on.

Each worker is a process that runs the same program with the same flags, under TensorFlow's
MultiWorkerMirroredStrategy. All of them do the same at the same time; the first one alone writes
the run's folder.
"""
