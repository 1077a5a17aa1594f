"""The residual network of 18 layers."""

from collections import OrderedDict

from torch import Tensor, nn

from baldur.networks._shapes import image, units


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut: relu(shortcut(x) + f(x)).

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        stride: Step of the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else _convolution(inputs, outputs, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: Shape (n, inputs, height, width).

        Returns:
            Shape (n, outputs, height / stride, width / stride).
        """
        y: Tensor = self.relu(self.shortcut(x) + self.body(x))
        return y


def resnet18(shape: tuple[int, ...], classes: int, rate: float = 0.5, *, width: float = 1.0) -> nn.Sequential:
    """ResNet-18 of He, Zhang, Ren & Sun, "Deep residual learning for image recognition", CVPR 2016.

    Images up to 64 pixels get the 3x3 stem that is usual for CIFAR, and larger ones 7x7 with max-pooling. There is
    dropout before the last layer, so that MC dropout has something to draw.

    Args:
        shape: Shape of one image: (channels, height, width), at least 8 pixels a side.
        classes: How many classes there are.
        rate: The probability that dropout zeroes a feature.
        width: The share of its channels that each layer keeps.

    Returns:
        The network, freshly initialised: (n, *shape) to logits (n, classes).

    Raises:
        InvalidArgument: The shape is not that of an image, or the image is too small.
    """
    channels, rows, columns = image(shape, classes, 8, "resnet18")
    a, b, c, d = (units(count, width) for count in (64, 128, 256, 512))
    if min(rows, columns) <= 64:
        stem = nn.Sequential(_convolution(channels, a, 3, 1), nn.ReLU())
    else:
        stem = nn.Sequential(_convolution(channels, a, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1))
    network = nn.Sequential(
        OrderedDict[str, nn.Module](
            stem=stem,
            stage1=nn.Sequential(Residual(a, a, 1), Residual(a, a, 1)),
            stage2=nn.Sequential(Residual(a, b, 2), Residual(b, b, 1)),
            stage3=nn.Sequential(Residual(b, c, 2), Residual(c, c, 1)),
            stage4=nn.Sequential(Residual(c, d, 2), Residual(d, d, 1)),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            dropout=nn.Dropout(rate),
            output=nn.Linear(d, classes),
        )
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def _convolution(inputs: int, outputs: int, size: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False), nn.BatchNorm2d(outputs)
    )
