"""What a population of cells is like, and where a cell lies in it."""
