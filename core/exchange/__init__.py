"""Cells handed over to other programs: one description of them, and a module for each format that is written of it."""
