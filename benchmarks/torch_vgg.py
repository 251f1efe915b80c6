"""VGG16 with batch norm behind Sobel filters, as published for DeepCluster, in plain PyTorch.

Its weights have the names and shapes of published files, which `dc_keras.pytorch` reads.
"""

import torch
from torch import nn

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions
UNITS = 4096
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 1e-5


class Vgg16(nn.Module):
    """From normalised pixels `(n, 3, side, side)` to logits.

    Args:
        image_size: Side of the images in pixels, a multiple of 32.
        num_clusters: Outputs of the head.
        width: Multiplies channels and units.
    """

    def __init__(self, image_size: int, num_clusters: int, width: float = 1.0):
        super().__init__()
        self.sobel = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Conv2d(1, 2, 3, padding=1))
        layers, inputs = [], 2
        for channels, convolutions in BLOCKS:
            outputs = round(channels * width)
            for _ in range(convolutions):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)]
                layers.append(nn.ReLU(inplace=True))
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        units, places = round(UNITS * width), (image_size // 2 ** len(BLOCKS)) ** 2
        self.classifier = nn.Sequential(
            nn.Linear(inputs * places, units),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(units, units),
        )
        self.top_layer = nn.Linear(units, num_clusters)
        for layer in [*self.features, *self.classifier]:
            _start(layer)
        self.redraw_head()
        self._fix_sobel()

    def _fix_sobel(self) -> None:
        horizontal = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
        gray, gradients = self.sobel.requires_grad_(False)
        gray.weight.fill_(1 / 3)
        gradients.weight.copy_(torch.stack([horizontal, horizontal.T])[:, None])
        gray.bias.zero_()
        gradients.bias.zero_()

    def redraw_head(self) -> None:
        """Gives the head the weights of a new one."""
        _start(self.top_layer)

    def body(self) -> list[nn.Parameter]:
        """The weights that are trained, without the head's."""
        return [*self.features.parameters(), *self.classifier.parameters()]

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """As published: the body learns with momentum, the head without."""
        return [
            torch.optim.SGD(self.body(), LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY),
            torch.optim.SGD(self.top_layer.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY),
        ]

    def fc7(self, images: torch.Tensor) -> torch.Tensor:
        """Features, before their ReLU."""
        return self.classifier(self.features(self.sobel(images)).flatten(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.top_layer(torch.relu(self.fc7(images)))


def _start(layer: nn.Module) -> None:
    """Initial weights as published; those of batch norm are PyTorch's own."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
