"""A person repairs outlines: opening a stored cell, deciding, drafts, comparing readers, and training folders."""
