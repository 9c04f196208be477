"""Training of the localiser: boxed images, scenes composed of them, a small network, its loss, loop and scores."""
