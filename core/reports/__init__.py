"""The reports that a person downloads."""
