"""Shared weights: one network that holds the weights of every architecture of a space."""
