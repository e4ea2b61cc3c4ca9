"""A run: budget, resume, final training, export."""
