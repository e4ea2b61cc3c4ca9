"""The vocabulary, as small typed classes without torch."""
