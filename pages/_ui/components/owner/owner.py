"""Whose runs a page shows: those of the account that is logged in, else of this browser."""

import re
import secrets
from typing import Final

import streamlit as st

from core.batch.jobs import Owner
from core.domain.settings import load_settings
from pages._ui.common.state import BROWSER
from pages._ui.components.assets import component

_BROWSER: Final = component(__file__, "leukoscope_browser", "<i></i>")
_KEY: Final = "browser"


def owner() -> Owner | None:
    """The person at the page; None in the moment before the browser has said who it is."""
    if st.user.get("is_logged_in"):
        return known_owner()
    with st.container(height=1, border=False, key="browser_place"):
        said = _BROWSER(
            key=_KEY, data={"known": BROWSER.get()}, default={"identity": None}, on_identity_change=lambda: None
        ).identity
    if said == "" and BROWSER.get() is None:
        BROWSER.set(secrets.token_hex(16))  # for this session only
    elif said is not None and re.fullmatch("[0-9a-f]{32}", said):
        BROWSER.set(said)
    return known_owner()


def known_owner() -> Owner | None:
    """The same without asking the browser: None where `owner` was not called yet."""
    root = load_settings().runs / "batch"
    if st.user.get("is_logged_in"):
        # The issuer is part of it: two of them may give the same subject to different persons.
        return Owner(root, f"account {st.user.get('iss')} {st.user.get('sub') or st.user.get('email')}")
    known = BROWSER.get()
    return None if known is None else Owner(root, f"browser {known}")
