"""Stain factors of laboratories as files beside a person's populations; cells keep theirs in the column `stain`."""

from typing import Final

from core.populations.staining import LaboratoryStain
from core.store.named_files import NamedFiles

_FILES: Final = NamedFiles("stains", "record of stain factors", LaboratoryStain)
save, kept, find, delete = _FILES.save, _FILES.kept, _FILES.find, _FILES.delete
