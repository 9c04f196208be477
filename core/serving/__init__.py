"""The engine for other programs over HTTP: an image in, JSON out."""
