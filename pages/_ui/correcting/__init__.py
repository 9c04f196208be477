"""Correcting outlines, on whichever page a cell is shown."""
