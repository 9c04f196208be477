"""The rows of the catalogue, one module for each kind of measure."""
