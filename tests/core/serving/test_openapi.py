import dataclasses

import jsonschema
import pytest

from core.serving import answers
from core.serving.answers import AnalyseQuery, FeatureChoice, ServedModel
from core.serving.openapi import document, schema


def test_every_class_of_an_answer_is_a_schema_with_all_of_its_fields():
    schemas = document()["components"]["schemas"]
    served = {
        kind.__name__: kind
        for kind in vars(answers).values()
        if dataclasses.is_dataclass(kind) and kind.__module__ == answers.__name__ and kind is not AnalyseQuery
    }
    assert schemas.keys() == served.keys()
    for name, kind in served.items():
        assert schemas[name]["required"] == [field.name for field in dataclasses.fields(kind)]
        jsonschema.Draft202012Validator.check_schema(schemas[name])


def test_the_parameters_are_the_fields_of_the_question():
    parameters = {one["name"]: one["schema"] for one in document()["paths"]["/analyse"]["post"]["parameters"]}
    assert list(parameters) == [field.name for field in dataclasses.fields(AnalyseQuery)]
    assert parameters["features"] == {"type": "string", "enum": [str(one) for one in FeatureChoice], "default": "key"}
    assert parameters["um_per_px"] == {"anyOf": [{"type": "number"}, {"type": "string", "enum": ["file"]}]}


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (float | None, [1.5, 2, None], ["1", True]),
        (list[tuple[float, float]], [[], [[1, 2]]], [[[1]], [[1, 2, 3]], [["a", 1]]]),
        (dict[str, int], [{}, {"a": 1}], [{"a": 1.5}, []]),
        (FeatureChoice, ["key"], ["KEY", None]),
    ],
)
def test_a_type_becomes_the_schema_that_takes_its_values_and_no_others(kind, right, wrong):
    validator = jsonschema.Draft202012Validator(schema(kind, {}))
    assert [one for one in right if not validator.is_valid(one)] == []
    assert [one for one in wrong if validator.is_valid(one)] == []


def test_a_field_more_or_less_is_no_answer():
    schemas = {}
    schema(ServedModel, schemas)
    validator = jsonschema.Draft202012Validator(schemas["ServedModel"])
    assert not validator.is_valid({})


def test_a_token_is_told():
    assert "security" not in document()
    assert document(token=True)["security"] == [{"token": []}]
