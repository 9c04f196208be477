"""The network: which models there are, which provider runs, and an image's label map."""
