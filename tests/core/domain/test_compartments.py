from core.domain.compartments import CHANNELS, STYLES, Compartment


def test_grey_codes_are_evenly_spaced_levels():
    assert [c.grey for c in Compartment] == [0, 85, 170, 255]


def test_channels_are_all_but_the_background_in_order():
    """Mask level k of n becomes channel k: the order is part of every trained model."""
    assert [c.label for c in CHANNELS] == ["environment", "cytoplasm", "nucleus"]
    assert list(CHANNELS) == sorted(CHANNELS)


def test_every_drawn_compartment_has_a_look_of_its_own_in_colour_and_in_line():
    assert set(STYLES) == set(CHANNELS)
    assert (
        len({style.colour for style in STYLES.values()})
        == len({style.dash for style in STYLES.values()})
        == len(CHANNELS)
    )
