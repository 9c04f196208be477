"""What a haematologist says of features: each is known, and says two different things."""

from core.features.catalogue import CATALOGUE
from core.features.phrases import PHRASES
from core.features.spec import Aspect


def test_every_phrase_is_of_a_known_feature_and_its_two_sides_differ():
    assert set(PHRASES) <= set(CATALOGUE)
    for phrase in PHRASES.values():
        assert phrase.larger != phrase.smaller
        assert all(words.startswith(("are ", "have ")) for words in phrase)


def test_every_aspect_has_words():
    assert {CATALOGUE[name].aspect for name in PHRASES} == set(Aspect)
