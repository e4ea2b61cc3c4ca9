"""What can be built: one file a space."""
