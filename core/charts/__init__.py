"""Data in, Altair chart out; no streamlit, no data fetching."""
