"""The cases of the person at the page."""

from core.batch.jobs import Owner
from core.cases.store import Case, Cases
from core.domain.settings import load_settings
from pages._ui.components.owner.owner import known_owner


def cases_of(person: Owner) -> Cases:
    """A person's cases, in a folder of their own beside that of their runs."""
    return Cases(load_settings().runs / "cases" / person.folder.name)


def own_cases() -> Cases | None:
    """Those of the person at the page; None in the moment before the browser has said who it is."""
    person = known_owner()
    return None if person is None else cases_of(person)


def recent_cases(person: Owner, most: int) -> list[Case]:
    """The cases of a person that changed last, the latest first, without damaged ones."""
    return list(cases_of(person).shelf().cases[:most])
