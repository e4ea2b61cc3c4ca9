"""Torch building blocks: operations, cells, elastic layers, and the ways of picking what is built."""
