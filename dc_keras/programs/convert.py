"""Turns a checkpoint of the published PyTorch code into a run directory, and back.

    dc-keras convert checkpoint.pth.tar RUN
    dc-keras convert RUN weights.pth

The first makes a run that can be evaluated (evaluate.py --run_dir=RUN --data_dir=IMAGES), exported,
and that others start from (train.py --init_from=RUN); the second writes the newest weights of a run
under PyTorch's names. Both need PyTorch: pip install -r requirements-torch.txt

Exit codes: 0 on success, 2 on arguments or files that the program cannot work with.
"""

import pathlib

from dc_keras.config import ConvertConfig as Settings
from dc_keras.errors import InputError
from dc_keras.process import load_libraries_quietly, printable


def main(settings: Settings) -> None:
    """Converts in the direction that IN tells, and says what to do with the result."""
    load_libraries_quietly()
    from dc_keras.pytorch.checkpoint import export_checkpoint, import_checkpoint

    if pathlib.Path(settings.source).is_dir():
        if settings.image_size:
            raise InputError(
                "--image_size would be ignored, since IN is a run, which knows its own. "
                f"Received: --image_size={settings.image_size}. Leave it out."
            )
        checkpoint = export_checkpoint(settings.source, settings.out)
        print(printable(f"Wrote the weights of {checkpoint} to {settings.out}"))
        return
    run = import_checkpoint(settings.source, settings.out, settings.image_size or None)
    told = (
        f"Imported {run.arch}{' behind Sobel' if run.sobel else ''}, width {run.width:g}, "
        f"{run.image_size} px, {run.num_clusters:,} clusters: {settings.out}\n"
        f"  dc-keras evaluate --run_dir={settings.out} --data_dir=LABELLED_IMAGES\n"
        f"  dc-keras export --run_dir={settings.out} --out=EXPORTED\n"
        f"  dc-keras train --init_from={settings.out} --arch={run.arch} --width={run.width:g} "
        f"--sobel={str(run.sobel).lower()} --image_size={run.image_size} --data_dir=IMAGES "
        "--run_dir=RUN"
    )
    print(printable(told))
