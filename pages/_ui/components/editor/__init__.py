"""The editor of a cell's outline."""
