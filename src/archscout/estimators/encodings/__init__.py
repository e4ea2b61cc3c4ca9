"""Encodings of architectures as arrays: pure functions of a space and architectures, one file each."""
