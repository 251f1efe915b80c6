"""The layout and settings that TensorBoard gets; `monitoring_test` reads them from a run."""

from tensorboard.plugins.custom_scalar import layout_pb2, metadata
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

from dc_keras.config import TrainingConfig
from dc_keras.training.dashboard import HEALTH, health_first, settings_of_run


def test_the_five_figures_come_first_each_with_its_whole_tag():
    (value,) = health_first().value
    assert value.tag == metadata.CONFIG_SUMMARY_TAG
    layout = layout_pb2.Layout.FromString(value.tensor.string_val[0])
    first = layout.category[0]
    assert len(HEALTH) == 5 and [chart.title for chart in first.chart] == list(HEALTH)
    assert first.chart[3].multiline.tag == ["^cluster/nmi_previous$", "^cluster/nmi_labels$"]


def test_settings_tell_runs_apart():
    config = TrainingConfig.from_arguments(
        ["--mode=improved", "--width=0.25", "--data_dir=d", "--run_dir=run 1", "--epochs=9"]
    )
    (value,) = settings_of_run(config).value
    info = parse_session_start_info_plugin_data(value.metadata.plugin_data.content)
    assert info.hparams["mode"].string_value == "improved"
    assert info.hparams["width"].number_value == 0.25 and info.group_name == "run 1"
    assert "epochs" not in info.hparams and "seed" not in info.hparams, "may change, or as always"
