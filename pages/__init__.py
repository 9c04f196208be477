"""The pages of the app; Streamlit finds them by their file names."""
