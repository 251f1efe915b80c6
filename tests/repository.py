"""Where the repository is, and the data sets that some tests look at where they are there."""

import os
import pathlib

REPOSITORY = pathlib.Path(__file__).parent.parent
# A folder laid out as docs/data_sets.md says; none of it belongs to the repository.
DATA_SETS = pathlib.Path(os.environ.get("DC_KERAS_DATA_SETS") or "no data sets")
