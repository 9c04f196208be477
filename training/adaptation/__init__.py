"""A laboratory's own cells make the model its own: weights that go on from a model's, and what that gained."""
