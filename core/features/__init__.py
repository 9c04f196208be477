"""What is measured in a cell: the catalogue, the fast engine, and pyradiomics as the reference engine."""
