"""Ground truth: tabular benchmarks, what they hold, and how published ones are read."""
