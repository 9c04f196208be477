"""Trains the segmentation networks. Needs training/requirements.txt; nothing that runs the app imports it."""

import os

# albumentations asks a server for its newest version on import; training must not depend on a network.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
