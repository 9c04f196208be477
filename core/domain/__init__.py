"""What the rest speaks of.

The values that flow, the errors, the lists of types and compartments, settings and versions.
"""
