"""A way through the program in five steps."""
