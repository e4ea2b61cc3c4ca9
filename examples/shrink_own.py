"""A trained network of your own, cut to half its multiply-adds on your data.

python examples/shrink_own.py
"""

import torch
from torch import nn

import archscout


def main(budget: str = "1m", out: str = "runs"):
    torch.manual_seed(0)  # in place of your own trained network
    body = [nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()]
    network = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    return archscout.shrink(network, "digits", maximum={"macs": "50%"}, budget=budget, out=out)


if __name__ == "__main__":
    print(main().summary())
