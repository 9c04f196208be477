"""What the pages share; in a folder of its own, because Streamlit lists every file beside the pages as a page."""
