"""What a network is by default."""

from dc_keras import assembly
from dc_keras.config import TrainingConfig
from dc_keras.models.options import NetworkOptions


def test_defaults_are_the_published_network():
    """Caron et al. 2018, section 4: VGG16 behind Sobel filters, dropout, a linear head."""
    published = NetworkOptions(
        image_size=224,
        arch="vgg16",
        width=1.0,
        use_sobel=True,
        dropout=0.5,
        scaled_fc_init=False,
        fc_norm=False,
        temperature=None,
        seed=31,
    )
    assert NetworkOptions(image_size=224) == published


def test_flags_ask_for_the_same_by_default():
    assert assembly.network_options(TrainingConfig()) == NetworkOptions(image_size=224)
