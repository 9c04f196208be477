"""Two readers of one cell: both outlines are kept, and this says how far they agree."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.corrections.deciding import agreement
from core.features.catalogue import KEY_FEATURES
from core.store import outline_log
from core.store.outline_log import OutlineStatus, OutlineVerdict
from core.store.overlay import corrected_rows
from core.store.schema import CellRow


@dataclass(frozen=True)
class ReaderAgreement:
    """Two decisions of different people about one cell: Dice of their outlines, and the key features of both."""

    one: OutlineVerdict
    other: OutlineVerdict
    dice: Mapping[str, float]
    features: Mapping[str, tuple[float | None, float | None]]


def compared(root: Path, history: tuple[OutlineVerdict, ...], model_row: CellRow) -> tuple[ReaderAgreement, ...]:
    """The last outline of each reader beside that of every other.

    Parameters
    ----------
    root
        Where the corrections are.
    history
        Decisions about one cell, the first one first.
    model_row
        The cell as the model drew it, which is what readers who accepted it agree to.

    Raises
    ------
    StoreError
        If a mask is gone or damaged.
    """
    outlined = (OutlineStatus.ACCEPTED, OutlineStatus.CORRECTED)
    last = {verdict.who: verdict for verdict in history if verdict.status in outlined}
    readers = list(last.values())
    if len(readers) < 2:
        return ()
    rows = corrected_rows(root, {verdict.drawn_in for verdict in readers if verdict.drawn_in is not None})

    found = []
    for at, one in enumerate(readers):
        for other in readers[at + 1 :]:
            masks = [outline_log.kept_mask(root, verdict.mask_sha256) for verdict in (one, other)]
            both = [rows.get(verdict.drawn_in or "", model_row) for verdict in (one, other)]
            features = {name: (both[0].get(name), both[1].get(name)) for name in KEY_FEATURES}
            found.append(ReaderAgreement(one, other, agreement(*masks), features))
    return tuple(found)
