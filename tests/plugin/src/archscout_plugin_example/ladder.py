"""An elastic space from outside whose stages can be tapped."""

from torch import nn

from archscout.core.choice import Choice
from archscout.core.space import Space
from archscout.networks.body import Body
from archscout.networks.elastic import batch_norm, conv2d


class Ladder(Space):
    """Three stages of one convolution each, of a width and a kernel that are chosen."""

    name = "ladder"

    @property
    def choices(self):
        widths = [Choice(f"width{stage}", (4, 8), ordinal=True) for stage in range(3)]
        kernels = [Choice(f"kernel{stage}", (3, 5), ordinal=True) for stage in range(3)]
        return (*widths, *kernels)

    def network(self, task, pick):
        layers, channels, inputs = [], [], task.input_shape[0]
        for stage in range(3):
            width = pick.number(f"width{stage}")
            convolution = conv2d(inputs, width, pick.number(f"kernel{stage}"), stride=1 if stage == 0 else 2)
            layers.append(nn.Sequential(convolution, batch_norm(width), nn.ReLU()))
            channels.append(width)
            inputs = width
        return Body(layers, [0, 1, 2], channels, [1, 2, 4]).with_head(task)
