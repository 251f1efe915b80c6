"""Evaluates a run of train.py: `dc-keras evaluate`, in a clone. See `--help`."""

from dc_keras.programs.run import run_program

if __name__ == "__main__":
    run_program("evaluate")
