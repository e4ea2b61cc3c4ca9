"""Comparisons of estimators and of strategies against ground truth."""
