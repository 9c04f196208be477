"""The pages as a server: Home.py, with a policy on every answer that lets a browser ask no other host for anything."""

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from pages._ui.common.policy import NoForeignHosts

app = st.App(Path(__file__).with_name("Home.py"), middleware=[Middleware(NoForeignHosts)])
