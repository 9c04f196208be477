"""Whatever comes through a door is read or refused in words: seeded damage, and files that ask for too much work."""

import time

import pytest

from core.domain.errors import ImageError
from core.image.imaging import decode
from tests.fuzz.doors import COSTLY, DOORS
from tests.fuzz.runner import bytes_of, entered

QUICK = 22
ALL = 2000


def faults(each: int, first: int = 0) -> list[str]:
    which = [(door, number) for door in DOORS for number in range(first, first + each)]
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
    assert not faults(QUICK)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_two_thousand_mutations_leave_no_door_but_as_refusals_in_words():
    assert not faults(-(-ALL // len(DOORS)))


@pytest.mark.parametrize("name", COSTLY)
def test_a_small_file_that_asks_for_very_much_work_is_refused_at_once_for_its_true_cause(name):
    made, words = COSTLY[name]
    data = made()
    started = time.perf_counter()
    with pytest.raises(ImageError) as refused:
        decode(data, "costly")
    assert time.perf_counter() - started < 3
    assert words in str(refused.value)
