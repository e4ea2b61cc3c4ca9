"""Comparisons of estimators and of strategies against ground truth; scoring to a file; building tables."""
