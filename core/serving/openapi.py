"""The OpenAPI document, written from the dataclasses of `core.serving.answers`, so that the two cannot part."""

import dataclasses
import types
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from core import __version__
from core.serving.answers import AnalyseQuery, ProblemAnswer, ServedImage, ServedModel, ServiceHealth

_PLAIN: Final[Mapping[object, str]] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}
# Why a request is answered otherwise, by status.
PROBLEMS: Final[Mapping[int, str]] = {
    400: "the question cannot be understood",
    401: "the token is missing or wrong",
    403: "it comes from a page of another host",
    404: "there is nothing at that address",
    405: "the address takes another method",
    408: "the image did not come in time",
    413: "the image has too many bytes",
    415: "no image came in a form that is taken",
    421: "it was asked of another host",
    422: "the image cannot be used, or takes more time or memory than it may",
    500: "a mistake of ours, or of the model's files",
    503: "all places are taken; ask again after Retry-After seconds",
}
_EVERYWHERE: Final = (400, 401, 403, 405, 421, 500)


def document(*, token: bool = False) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the service; `token` says that one is wanted."""
    schemas: dict[str, Any] = {}
    paths = {
        "/health": {"get": _get("Whether the service is there", ServiceHealth, schemas)},
        "/model": {"get": _get("The model that outlines", ServedModel, schemas)},
        "/openapi.json": {"get": _get("This document", dict[str, Any], schemas)},
        "/analyse": {"post": _analyse(schemas)},
    }
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Leukoscope",
            "version": __version__,
            "description": "An image of white blood cells in, their outlines and values out. Research software, not a"
            " diagnostic device.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if token:
        made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"token": []}]
    return made


def _get(summary: str, answer: Any, schemas: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 (a type)
    return {"summary": summary, "responses": _responses(answer, (), schemas)}


def _analyse(schemas: dict[str, Any]) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    form = {"type": "object", "required": ["image"], "properties": {"image": binary["schema"]}}
    hints = get_type_hints(AnalyseQuery, include_extras=True)
    return {
        "summary": "Outline, measure and place the cells of an image; it is not kept",
        "parameters": [
            {
                "name": field.name,
                "in": "query",
                "required": False,
                "description": get_args(hints[field.name])[1],
                "schema": _asked(hints[field.name], field.default, schemas),
            }
            for field in dataclasses.fields(AnalyseQuery)
        ],
        "requestBody": {
            "required": True,
            "description": "the file itself, or a form with one file `image`",
            "content": {
                "image/*": binary,
                "application/octet-stream": binary,
                "multipart/form-data": {"schema": form},
            },
        },
        "responses": _responses(ServedImage, (408, 413, 415, 422, 503), schemas),
    }


def _asked(kind: Any, default: object, schemas: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 (a type)
    """The schema of a parameter, which is left out rather than null."""
    made = schema(get_args(kind)[0], schemas)
    choices = [one for one in made.get("anyOf", [made]) if one != {"type": "null"}]
    made = choices[0] if len(choices) == 1 else {"anyOf": choices}
    return made if default is None else {**made, "default": default}


def _responses(answer: Any, problems: Sequence[int], schemas: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    made = {"200": _response("the answer", schema(answer, schemas))}
    for status in sorted({*problems, *_EVERYWHERE}):
        made[str(status)] = _response(PROBLEMS[status], schema(ProblemAnswer, schemas))
    return made


def _response(description: str, of: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": of}}}


def schema(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 (a type)
    """The JSON schema of a type; those of dataclasses go into `schemas` by their names, with a reference to them."""
    origin, inner = get_origin(kind), get_args(kind)
    made: dict[str, Any]
    if kind is Any:
        return {}
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if origin is Annotated:
        made = {**schema(inner[0], schemas), "description": inner[1]}
    elif origin in {Union, types.UnionType}:
        made = {"anyOf": [schema(one, schemas) for one in inner]}
    elif origin is Literal:
        made = {"type": "string", "enum": list(inner)}
    elif origin is dict:
        made = {"type": "object", "additionalProperties": schema(inner[1], schemas)}
    elif origin is list:
        made = {"type": "array", "items": schema(inner[0], schemas)}
    elif origin is tuple:  # of a fixed length
        parts = [schema(one, schemas) for one in inner]
        made = {"type": "array", "prefixItems": parts, "minItems": len(parts), "maxItems": len(parts)}
    elif isinstance(kind, type) and issubclass(kind, StrEnum):
        made = {"type": "string", "enum": [str(one) for one in kind]}
    else:
        made = _reference(kind, schemas)
    return made


def _reference(kind: type, schemas: dict[str, Any]) -> dict[str, Any]:
    if kind.__name__ not in schemas:
        hints = get_type_hints(kind, include_extras=True)
        schemas[kind.__name__] = {
            "type": "object",
            "description": (kind.__doc__ or "").strip(),
            "properties": {name: schema(one, schemas) for name, one in hints.items()},
            "required": list(hints),
            "additionalProperties": False,
        }
    return {"$ref": f"#/components/schemas/{kind.__name__}"}
