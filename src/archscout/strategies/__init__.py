"""Which architectures to try next: one file a strategy."""
