"""Experiments on generalisation to laboratories a network has never seen; results in `training/EXPERIMENTS.md`."""
