"""Predictors: they learn from trained architectures what others will come to. One file a method."""
