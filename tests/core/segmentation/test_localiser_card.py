import json

import pytest

from core.domain.errors import ModelError
from core.segmentation.localiser_card import LOCALISER_KEY, LocaliserCard
from tests.core.segmentation.scenes import LOCALISER_CARD as CARD


def test_a_card_comes_back_from_a_files_metadata_and_says_what_is_wrong_with_it():
    assert LocaliserCard.from_metadata({LOCALISER_KEY: CARD.to_json()}, "a.onnx") == CARD
    with pytest.raises(ModelError, match="carries no localiser card"):
        LocaliserCard.from_metadata({}, "a.onnx")
    plain = json.loads(CARD.to_json())
    for change, said in [
        ({"kinds": ["leukocyte", "leukocyte"]}, "each kind once"),
        ({"kinds": ["leukocyte", "sheep"]}, "sheep"),
        ({"least_scores": {"leukocyte": 0.3}}, "one score for each"),
        ({"stride": 5}, "must divide 32"),
        ({"kinds": 3}, "cannot be read"),
    ]:
        with pytest.raises(ModelError, match=said):
            LocaliserCard.from_metadata({LOCALISER_KEY: json.dumps(plain | change)}, "a.onnx")
