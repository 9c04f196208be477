"""How good things are, measured on data sets: agreement of features, novelty, architectures."""
