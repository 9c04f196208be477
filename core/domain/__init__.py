"""What all rooms share: the values that flow, errors, lists of types and compartments, settings, versions."""
