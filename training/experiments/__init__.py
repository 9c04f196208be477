"""What was tried to make a network hold in a laboratory it has never seen, and what it gave.

`training/EXPERIMENTS.md`.
"""
