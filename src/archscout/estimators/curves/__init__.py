"""Learning curves: what the beginning of a training tells of its end. One file a method."""
