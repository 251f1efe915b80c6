"""Trains DeepCluster on a folder of images: `dc-keras train`, in a clone. See `--help`."""

from dc_keras.programs.run import run_program

if __name__ == "__main__":
    run_program("train")
