"""Whatever comes through a door is read or refused in words: seeded damage to good files."""

import pytest

from tests.fuzz.doors import DOORS
from tests.fuzz.runner import bytes_of, entered

# What opens a database for each takes a hundred times as long as the others.
SLOW = ("population.json", "shard", "edit log")
ALL = 2000


def faults(each: int, of_slow: int) -> list[str]:
    which = [(door, number) for door in DOORS for number in range(of_slow if door in SLOW else each)]
    return [f"{one.door} {one.number}: {one.fault}" for one in entered(which) if one.fault]


@pytest.mark.parametrize("door", DOORS)
def test_good_files_are_let_in(door, tmp_path):
    for number, seed in enumerate(DOORS[door].seeds()):
        folder = tmp_path / str(number)
        folder.mkdir()
        DOORS[door].enter(seed, folder)


def test_a_mutation_is_the_same_every_time():
    assert bytes_of("image", 5) == bytes_of("image", 5) != bytes_of("image", 6)


def test_damage_leaves_no_door_but_as_a_refusal_in_words():
    assert not faults(26, 5)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_two_thousand_mutations_leave_no_door_but_as_refusals_in_words():
    each = -(-ALL // len(DOORS))
    assert not faults(each, each)
