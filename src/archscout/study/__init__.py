"""Comparisons against ground truth."""
