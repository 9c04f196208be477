"""The cells that are offered without the model's outline: a fixed sample, so that nobody chooses them.

Whoever corrects what a model drew follows it more than they know. Outlines that were drawn without having seen the
model's tell how much, and they alone may judge a model that learns from corrections.
"""

import hashlib
from typing import Final

# Of cells that nobody has decided on.
BLIND_SHARE: Final = 0.07


def is_offered_blind(name: str) -> bool:
    """Whether a cell (`CellKey.name`) is in the sample: the same for everybody and at any time."""
    return int.from_bytes(hashlib.sha256(f"blind {name}".encode()).digest()[:4]) < BLIND_SHARE * 2**32
