"""What TensorBoard opens with: the figures that tell whether a run is healthy, and its settings."""

import dataclasses
from collections.abc import Mapping

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar.summary import pb
from tensorboard.plugins.hparams import api as hparams

from dc_keras.config import TrainingConfig

# Charts in their order, with the scalars that each shows.
HEALTH = {
    "augmented views known again (should rise)": ["cluster/views_retrieved"],
    "effective rank of the features (far above 1)": ["cluster/effective_rank"],
    "part of the images in the largest cluster (small)": ["cluster/largest_fraction"],
    "NMI with the clusters before, and with labels": ["cluster/nmi_previous", "cluster/nmi_labels"],
    "loss (its targets change)": ["train/loss"],
}
SPEED = {
    "images per second": ["train/images_per_second"],
    "seconds": ["seconds/features", "seconds/pca", "seconds/kmeans", "seconds/train"],
}


def health_first() -> Summary:
    """The layout of the page "Custom scalars", which TensorBoard shows first where it is there."""
    return pb(
        layout_pb2.Layout(
            category=[
                layout_pb2.Category(title="Is it healthy?", chart=_charts(HEALTH)),
                layout_pb2.Category(title="How fast is it?", chart=_charts(SPEED), closed=True),
            ]
        )
    )


def _charts(tags: Mapping[str, list[str]]) -> list[layout_pb2.Chart]:
    return [
        layout_pb2.Chart(
            # Tags are patterns: without an end, "loss" would be the beginning of others.
            title=title,
            multiline=layout_pb2.MultilineChartContent(tag=[f"^{tag}$" for tag in names]),
        )
        for title, names in tags.items()
    ]


def settings_of_run(config: TrainingConfig) -> Summary:
    """What may make one run better than another, for the page "HParams", which compares them."""
    origins = config.origins()
    settings = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if origins[field.name] != "default" and not field.metadata["may_change"]
    }
    return hparams.hparams_pb({"mode": config.mode, **settings}, trial_id=config.run_dir)
