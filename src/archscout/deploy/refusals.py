"""What is said of an operator that integer code is not made of: its name, and what to use in its place."""

from __future__ import annotations

from archscout.core.errors import UsageError

ADVICE = {
    "mul": "multiply a map by a constant, by a number for each channel, or by a map of its own size",
    "slice": "take whole channels of a map",
    "transpose": "change the order of channels alone",
    "permute": "change the order of channels alone",
    "softmax": "leave it off: the largest output is the same",
    "log_softmax": "leave it off: the largest output is the same",
    "native_layer_norm": "use batch normalisation",
    "native_group_norm": "use batch normalisation",
    "bmm": "use convolutions instead of attention",
    "transposed convolution": "enlarge no maps: integer code is made of networks that tell classes",
    "convolution": "use two-dimensional ones with weights that are constant",
    "adaptive_avg_pool2d": "pool to one pixel, or to a divisor of the map's side",
    "adaptive_max_pool2d": "pool to one pixel, or to a divisor of the map's side",
    "flip": "leave mirrored=true off the data: a network that answers for two images has no such code",
    "constant_pad_nd": "give the padding to the layer that follows",
}


def refusal(name: str, advice: str = "") -> UsageError:
    """The sentence about an operator."""
    plain = name.strip("_")
    advice = advice or ADVICE.get(plain, "use convolutions, linear layers, pooling, sums and ReLU")
    return UsageError(f"the network has an operator that integer code is not made of, '{plain}': {advice}.")
