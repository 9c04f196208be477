"""What separates them? Every feature by how well it tells the groups apart."""

import streamlit as st

from pages._ui.explorer_compare import Compared


def show_separation(compared: Compared) -> None:
    """Rank the features."""
    st.write(compared.titles)
