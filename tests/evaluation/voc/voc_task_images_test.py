"""What is opened and told of tasks with images of their own."""

import types

import pytest
from voc_miniature import write_devkit

from dc_keras.clustering.pseudo_labels import ClusteringOptions
from dc_keras.config import EvaluationConfig, TrainingConfig
from dc_keras.data.sources.open import open_source
from dc_keras.evaluation.measures import Protocol
from dc_keras.evaluation.task_images import with_images_of_tasks


@pytest.mark.parametrize(
    ("arch", "tuned", "columns"),
    [("vgg16", ("fc",), {"conv5", "fc6", "fc7", "fc"}), ("compact", (), {"conv5", "fc7"})],
)
def test_layers_that_a_network_has_are_named_and_what_is_left_out_is_told(
    tmp_path, arch, tuned, columns
):
    devkit = write_devkit(tmp_path)
    config = EvaluationConfig.from_arguments(
        ["--run_dir=r", "--task=voc", f"--voc_dir={devkit}", "--voc_tune=fc"]
    )
    settings = TrainingConfig.from_arguments(
        [f"--arch={arch}", "--image_size=32", "--data_dir=d", "--run_dir=r"]
    )
    report = types.SimpleNamespace(further=(), remarks=())
    protocol = Protocol(ClusteringOptions(2), 8, 31)
    digits = open_source("sklearn:digits")
    made = with_images_of_tasks(protocol, config, settings, digits, report)
    assert made.voc.tuned == tuned
    named = {column.title for table in report.further[0].tables for column in table.columns}
    assert named == columns
    assert len(report.remarks) == (not tuned)
