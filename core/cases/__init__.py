"""Cases: several images of one patient or question, with what was measured in them, kept for the person who asked."""
