"""The steps of the tour, each beside a part of Home."""

from typing import Final

from pages._ui.components.tour.tour import TourStep

TOUR: Final = (
    TourStep(
        "door_biotech",
        "Bring a cell",
        "Drop the image of a stained white blood cell, of a field of several, or some images of one patient. Without"
        " any at hand, try an example. Images stay on the computer that runs Leukoscope.",
    ),
    TourStep(
        "home_example",
        "Look at the outline, then at the numbers",
        "The line is what is measured: if it is wrong, so is every number. Beside each measure stands where the cell"
        " lies among monocytes, lymphocytes and others. A wrong outline can be corrected by hand.",
    ),
    TourStep(
        "door_photo_library",
        "Or bring a folder",
        "A run goes on when the page is closed, one bad image never stops it, and what is doubtful comes first when you"
        " look through. Its cells can become a population of your own.",
    ),
    TourStep(
        "door_groups",
        "Ask the populations",
        "How is a feature distributed, what separates two kinds of cells, does it hold inside each laboratory? Every"
        " answer says how many cells and patients it rests on.",
    ),
    TourStep(
        "masthead",
        "Know how good it is",
        "Models says how well the outlines agree with drawn ones, and how a laboratory teaches the model its own cells."
        " Leukoscope describes, it does not diagnose.",
    ),
)
