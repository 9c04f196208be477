"""What the editor of a cell's outline is told."""
