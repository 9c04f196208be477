"""From an image to its label maps: models and their cards, providers, the two passes, cells of a field."""
