"""The reports a person takes away."""
