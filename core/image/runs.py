"""A label map as text: runs in reading order, each a varint of length << 2 | label; a kilobyte or two for a cell."""

import base64
import binascii
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.domain.compartments import Compartment
from core.domain.types import LabelMap, as_label_map

# A drawn outline crosses a row a few times. More runs than these are no outline, and would take much memory to read.
_RUNS_FREE: Final = 4096
_RUNS_SHARE: Final = 8
_MOST_RUNS: Final = 250_000
_MOST_VARINT: Final = 5


def encode_runs(labels: NDArray[np.uint8]) -> str:
    """Runs of a label map as base64; the environment ring is left out, as it is no drawn object."""
    flat = np.where(labels == Compartment.ENVIRONMENT, np.uint8(0), labels).ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    lengths = np.diff(np.append(starts, flat.size))
    sent = bytearray()
    for code in (lengths * 4 + flat[starts]).tolist():
        rest = code
        while rest > 127:
            sent.append(rest & 127 | 128)
            rest >>= 7
        sent.append(rest)
    return base64.b64encode(bytes(sent)).decode("ascii")


def decode_runs(sent: object, shape: tuple[int, int]) -> LabelMap | None:
    """Label map of this (H, W) from its runs; None for whatever is none, as a browser may send anything.

    Nothing of the map's size is made before the runs are known to fit.
    """
    size = shape[0] * shape[1]
    most = min(size // _RUNS_SHARE + _RUNS_FREE, _MOST_RUNS)
    # A run of n pixels has at most n bytes.
    if not isinstance(sent, str) or not 0 < len(sent) <= min(4 * size // 3 + 8, 7 * most + 8):
        return None
    try:
        raw = np.frombuffer(base64.b64decode(sent, validate=True), np.uint8)
    except (binascii.Error, ValueError):
        return None
    if not raw.size or raw[-1] > 127:
        return None
    ends = np.flatnonzero(raw < 128)
    if ends.size > most:
        return None
    codes = np.zeros(ends.size, np.int64)
    widths = np.diff(ends, prepend=-1)
    if widths.max() > _MOST_VARINT:
        return None
    for place in range(int(widths.max())):
        has = np.flatnonzero(widths > place)
        codes[has] |= (raw[ends[has] - widths[has] + 1 + place] & 127).astype(np.int64) << (7 * place)
    values = (codes & 3).astype(np.uint8)
    lengths = codes >> 2
    if lengths.min() < 1 or int(lengths.sum()) != size or (values == Compartment.ENVIRONMENT).any():
        return None
    return as_label_map(np.repeat(values, lengths).reshape(shape))
