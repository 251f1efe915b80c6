"""`python -m dc_keras PROGRAM`: the same as `dc-keras PROGRAM`."""

from dc_keras.programs.run import main

if __name__ == "__main__":
    main()
