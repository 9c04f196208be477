"""From bytes to pixels and back: image files, masks, stain, windows, and the arithmetic on pixels."""
