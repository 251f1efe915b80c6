"""Shows what the network of a run looks at, as PNG pictures.

    dc-keras look --run_dir=RUN
    dc-keras look --run_dir=RUN --layer=relu3_3 --filters=32 --clusters=20 --out=PICTURES

The filters of the first layer; for filters of a layer a picture made by gradient ascent beside the
nine images that they respond to most; and clusters, with heat maps of what puts the images nearest
to their centres there. They are written to RUN/look and shown in TensorBoard's images; with --out
nothing is written to the run. docs/look.md tells how to read them.

Exit codes: 0 on success, 2 on flags, images or a run that the program cannot work with.
"""

import sys

from dc_keras.config import LookConfig as Settings
from dc_keras.process import prepare_process, printable


def main(settings: Settings) -> None:
    """Draws the sheets and says where they are."""
    prepare_process()
    from dc_keras.exploring.look.run_sheets import LookOptions
    from dc_keras.exploring.look.sheet_files import look

    options = LookOptions(
        layer=settings.layer,
        filters=settings.filters,
        clusters=settings.clusters,
        max_images=settings.max_images,
        batch_size=settings.batch_size,
    )
    for path in look(settings.run_dir, settings.out, options, progress=sys.stderr.isatty()):
        print(printable(str(path)))
