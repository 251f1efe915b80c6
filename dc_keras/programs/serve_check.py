"""Checks that an exported model answers as its run does.

    dc-keras serve-check EXPORTED
    dc-keras serve-check EXPORTED/2 --run_dir=RUN

A process that has TensorFlow alone loads the model and answers some images of the run, and one
file that is no image. The answers are compared with those of the run itself.

Exit codes: 0 if they agree, 1 if they do not, 2 on flags, a model or a run that the program cannot
work with.
"""

import sys

from dc_keras.config import ServeCheckConfig as Settings
from dc_keras.process import prepare_process, printable


def main(settings: Settings) -> None:
    """Compares, and says what agrees."""
    prepare_process()
    from dc_keras.serving.serve_check import TOLERANCE, serve_check

    found = serve_check(settings.model, settings.run_dir)
    width = max(len(comparison.output) for comparison in found)
    for comparison in found:
        if comparison.same_bits:
            told = "the same bits"
        else:
            told = f"differs by {comparison.largest_difference:.1e} of the largest"
        print(printable(f"{comparison.output:{width}}  {told}"))
    if not all(comparison.agrees for comparison in found):
        print(f"The model does not answer as the run does: more than {TOLERANCE:g} is no round-off")
        sys.exit(1)
    print("The model answers as its run does")
