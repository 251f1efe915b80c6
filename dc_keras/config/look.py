"""Settings of `dc-keras look`."""

import dataclasses

from dc_keras.config.flags import Config, flag


@dataclasses.dataclass(frozen=True)
class LookConfig(Config):
    """Settings of `dc-keras look`."""

    run_dir: str = flag("", "Folder of a finished run.", required=True)
    layer: str = flag(
        "",
        "The layer whose filters are shown, such as relu3_3; default: the last one that has maps.",
    )
    filters: int = flag(16, "How many of its filters to show, evenly spaced.", at_least=1)
    clusters: int = flag(12, "How many clusters to show, the largest first.", at_least=1)
    out: str = flag("", "Folder to write the pictures to; default: look in --run_dir.")
    max_images: int = flag(
        20000, "Look at this many images of the run at most, drawn at random.", at_least=1
    )
    batch_size: int = flag(256, "Images in a step of the network.", at_least=1)
