"""Whole systems: one file a method."""
