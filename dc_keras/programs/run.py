"""Starts a program by its name, as `dc-keras NAME`, `python -m dc_keras NAME` or `python NAME.py`.

A program is a module here with its text for `--help`, the class of its settings as `Settings`, and
`main(settings)`.
"""

import importlib
import sys

from absl import app

from dc_keras.config import exit_with_input_error, parser
from dc_keras.errors import InputError
from dc_keras.process import outlive_readers_of_output, printable

PROGRAMS = {
    "train": "train on a folder of images",
    "evaluate": "tell whether a run's features are better than those it started from",
    "cluster": "cluster images by features or a network that you have",
    "assign": "assign images to the clusters of a run",
    "gallery": "make a page that shows the clusters of a run",
    "apply": "apply the labels given in a gallery to its run",
    "table": "write what is known of each image as CSV or Parquet",
    "duplicates": "list copies among the images of a run",
    "look": "show what the network of a run looks at",
    "sort": "sort the images of a run into a folder for each cluster",
    "export": "write the model of a run for serving",
    "serve-check": "look whether an exported model answers as its run does",
    "pack": "pack a data set into a few large files",
    "convert": "turn weights of the public PyTorch code into a run, and back",
}
USAGE = "\n".join(
    [
        "Usage: dc-keras PROGRAM [flags]",
        "",
        *(f"  {name:12}{what}" for name, what in PROGRAMS.items()),
        "",
        "dc-keras PROGRAM --help tells its flags.",
    ]
)


def command(name: str) -> str:
    """How the user starts a program: the way in which this one was started."""
    if not sys.argv[0].endswith(".py"):
        return f"dc-keras {name}"
    # Those two alone stand at the top of a clone.
    return f"python {name}.py" if name in ("train", "evaluate") else f"python -m dc_keras {name}"


def run_program(name: str) -> None:
    """Runs one program with the arguments in `sys.argv`, and ends the process.

    Exit codes: 0 on success, 2 on what the user can mend; a program's own text names others.
    """
    outlive_readers_of_output()
    program = importlib.import_module(f"dc_keras.programs.{name.replace('-', '_')}")
    # What absl shows for --help.
    sys.modules["__main__"].__doc__ = program.__doc__

    def main(settings) -> None:
        try:
            program.main(settings)
        except InputError as error:
            exit_with_input_error(error)

    app.run(main, flags_parser=parser(program.Settings))


def main() -> None:
    """Runs the program that the first argument names."""
    outlive_readers_of_output()
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h", "help"):
        print(USAGE)
        return
    if name == "--version":
        from dc_keras import __version__

        print(f"dc-keras {__version__}")
        return
    if name not in PROGRAMS:
        told = printable(f"dc-keras: There is no such program. Received: {name}.\n{USAGE}")
        print(told, file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"dc-keras {name}", *arguments]
    run_program(name)
