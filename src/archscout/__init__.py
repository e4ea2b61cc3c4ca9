"""Archscout finds a good neural network for your data and your device before you pay for training."""

__version__ = "0.1.0"
