"""The service over ASGI, with a real worker and with one that is held up; and fuzzed from its own document."""

import io
import threading

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from core.domain.errors import ImageError, LimitError, ModelError, UsageError
from core.domain.types import CellImage
from core.image.imaging import encode_png
from core.image.synthetic import draw_cell
from core.pipeline import analyse, analyse_received
from core.serving.server import RETRY_AFTER_S, ServiceSettings, open_desk, service
from core.store import queries
from core.store.database import Cohort

BASE = "http://127.0.0.1"
RAW = {"content-type": "image/png"}
PROBLEM = {"$ref": "#/components/schemas/ProblemAnswer"}


class HereDesk:
    """Analyses in this process, without a limit of time."""

    def __init__(self, segmenter):
        self._segmenter = segmenter

    def ask(self, item):
        return analyse_received(item, self._segmenter, lambda *_: None)


class FailingDesk:
    def __init__(self, error):
        self._error = error

    def ask(self, _):
        raise self._error


class HeldDesk:
    """Keeps whoever asks until it is let go."""

    def __init__(self):
        self.came, self.go = threading.Semaphore(0), threading.Event()

    def ask(self, item):
        self.came.release()
        assert self.go.wait(60)
        return CellImage(draw_cell()[0].rgb, item.name, ""), ()


@pytest.fixture(scope="module")
def png():
    return encode_png(draw_cell()[0].rgb)


@pytest.fixture(scope="module")
def client(model_entry, segmenter, drawn_references):
    return TestClient(service(model_entry, HereDesk(segmenter), drawn_references, ServiceSettings()), base_url=BASE)


@pytest.fixture(scope="module")
def drawn_references(drawn_root):
    with Cohort.open([drawn_root]) as cohort:
        return queries.references(cohort)


def with_desk(model_entry, desk, **chosen):
    return TestClient(
        service(model_entry, desk, [], ServiceSettings(**chosen)), base_url=BASE, raise_server_exceptions=False
    )


def problem(answer):
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    return answer.status_code, error["code"]


def test_an_image_is_answered_with_what_the_engine_says(client, png, segmenter):
    answer = client.post("/analyse", content=png, headers=RAW, params={"um_per_px": 0.1, "features": "all"})
    assert answer.status_code == 200
    told, expected = answer.json(), analyse(draw_cell()[0], segmenter)
    (cell,) = told["cells"]
    assert cell["confidence"] == pytest.approx(expected.segmentation.confidence)
    area = expected.features.values["cell_shape2D_PixelSurface"] * 0.01
    assert cell["features"]["cell_shape2D_PixelSurface"] == pytest.approx(area)
    assert told["units"]["cell_shape2D_PixelSurface"] == "µm²"
    assert {place["feature"] for place in cell["places"]} >= {"combined_PixelSurface"}
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"


def test_a_form_and_a_body_say_the_same(client, png):
    raw = client.post("/analyse", content=png, headers=RAW, params={"name": "a.png"}).json()
    form = client.post("/analyse", files={"image": ("a.png", png, "image/png")}).json()
    assert raw == form
    assert raw["name"] == "a.png"
    assert (
        client.post("/analyse", content=png, headers=RAW, params={"places": "false"}).json()["cells"][0]["places"] == []
    )


def test_the_other_addresses(client, model_entry):
    assert client.get("/health").json() == {"status": "ok", "requests": 0, "most": 3}
    told = client.get("/model").json()
    assert (told["model_id"], told["sha256"]) == (model_entry.model_id, model_entry.sha256)
    assert told["populations"]
    assert client.get("/openapi.json").json()["openapi"] == "3.1.0"


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"content": b"no image", "headers": RAW}, (422, "image")),
        ({"content": b"", "headers": RAW}, (400, "empty")),
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, (415, "content_type")),
        ({"content": b"x"}, (415, "content_type")),
        ({"content": b"x", "headers": RAW, "params": {"um_per_px": "400"}}, (400, "usage")),
        ({"content": b"x", "headers": RAW, "params": {"um_per_px": "nan"}}, (400, "usage")),
        ({"content": b"x", "headers": RAW, "params": {"um_per_px_error": "0.1"}}, (400, "usage")),
        ({"content": b"x", "headers": RAW, "params": {"cells": "two"}}, (400, "usage")),
        ({"content": b"x", "headers": RAW, "params": {"colour": "red"}}, (400, "usage")),
        ({"content": b"x", "headers": RAW, "params": [("cells", "one"), ("cells", "all")]}, (400, "usage")),
        ({"files": {"picture": ("a.png", b"x")}}, (400, "form")),
        ({"files": [("image", ("a", b"x")), ("image", ("b", b"x"))]}, (400, "form")),
        ({"files": {"image": ("a.png", b"")}}, (400, "empty")),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, (400, "form")),
        ({"content": b"x", "headers": {**RAW, "origin": "https://evil.example"}}, (403, "origin")),
        ({"content": b"x", "headers": {**RAW, "host": "evil.example"}}, (421, "host")),
    ],
)
def test_what_the_caller_did_wrong_is_told(client, how, expected):
    assert problem(client.post("/analyse", **how)) == expected


def test_other_addresses_and_methods_are_told_as_json(client):
    assert problem(client.get("/nothing")) == (404, "not_found")
    assert problem(client.get("/analyse")) == (405, "method")
    assert problem(client.get("/model", params={"a": "b"})) == (400, "usage")


@pytest.mark.parametrize("form", [False, True])
def test_more_bytes_than_an_image_may_have_are_not_read(client, monkeypatch, form):
    monkeypatch.setenv("LEUKOSCOPE_MAX_BYTES", "1000")
    came = 0

    def endless():
        nonlocal came
        if form:
            yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(1000):
            came += 1000
            yield b"x" * 1000

    kind = "multipart/form-data; boundary=b" if form else "image/png"
    assert problem(client.post("/analyse", content=endless(), headers={"content-type": kind})) == (413, "size")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ImageError("a.png: none"), (422, "image")),
        (LimitError("nothing came of it for 3 s"), (422, "image")),
        (ModelError("damaged"), (500, "engine")),
        (RuntimeError("secret"), (500, "unexpected")),
    ],
)
def test_what_the_engine_refuses_is_told(model_entry, error, expected):
    answer = with_desk(model_entry, FailingDesk(error)).post("/analyse", content=b"x", headers=RAW)
    assert problem(answer) == expected
    assert "secret" not in answer.text
    if isinstance(error, LimitError):
        assert "raise LEUKOSCOPE_MAX_SECONDS" in answer.json()["error"]["message"]


def test_who_comes_when_all_places_are_taken_is_asked_to_come_back(model_entry):
    desk, answers = HeldDesk(), []
    with with_desk(model_entry, desk, workers=1) as client:
        askers = [
            threading.Thread(
                target=lambda: answers.append(client.post("/analyse", content=b"x", headers=RAW).status_code)
            )
            for _ in range(3)
        ]
        for asker in askers:
            asker.start()
        for _ in askers:
            assert desk.came.acquire(timeout=60)
        refused = client.post("/analyse", content=b"x", headers=RAW)
        assert problem(refused) == (503, "busy")
        assert refused.headers["retry-after"] == str(RETRY_AFTER_S)
        assert client.get("/health").json()["requests"] == 3
        desk.go.set()
        for asker in askers:
            asker.join()
        assert answers == [200, 200, 200]
        assert client.get("/health").json()["requests"] == 0


def test_a_token_is_wanted_where_there_is_one(model_entry, segmenter, png):
    client = with_desk(model_entry, HereDesk(segmenter), token="long and random")
    assert problem(client.post("/analyse", content=png, headers=RAW)) == (401, "token")
    assert problem(client.get("/model", headers={"authorization": "Bearer wrong"})) == (401, "token")
    assert client.get("/health").status_code == 200
    assert client.get("/model", headers={"authorization": "Bearer long and random"}).status_code == 200


def test_no_other_host_without_a_token():
    with pytest.raises(UsageError, match="LEUKOSCOPE_TOKEN"):
        ServiceSettings("0.0.0.0")
    ServiceSettings("0.0.0.0", "token")


@pytest.mark.parametrize(("seconds", "expected"), [("60", 200), ("0.001", 422)])
def test_a_guarded_worker_gives_up_what_takes_too_long(model_entry, monkeypatch, seconds, expected):
    # The parent looks round ten times a second, so what is to be too slow must be silent for longer than that.
    wide = encode_png(np.tile(draw_cell()[0].rgb, (2, 3, 1) if expected == 200 else (8, 8, 1)))
    monkeypatch.setenv("LEUKOSCOPE_MAX_SECONDS", seconds)
    desk = open_desk(model_entry, 1)
    monkeypatch.setenv("LEUKOSCOPE_MAX_SECONDS", "60")  # to come in
    try:
        answer = with_desk(model_entry, desk).post("/analyse", content=wide, headers=RAW)
    finally:
        desk.close()
    assert answer.status_code == expected
    if expected == 422:
        assert problem(answer) == (422, "image")
        assert "nothing came of it for 0.001 s" in answer.json()["error"]["message"]
    else:
        assert len(answer.json()["cells"]) == 6


# --- fuzzed from its own document -------------------------------------------------------------------------------------


def values(of):
    """Texts for a parameter: those that its schema takes, and any other."""
    kinds = {
        "number": st.floats(0.005, 10).map(str),
        "boolean": st.sampled_from(["true", "false"]),
        "string": st.text(max_size=20),
    }
    right = [st.sampled_from(one["enum"]) if "enum" in one else kinds[one["type"]] for one in of.get("anyOf", [of])]
    return st.one_of(*right, *right, st.text(max_size=10), st.floats().map(str))


def damaged(png):
    """An image, a part of it, one with changed bytes, or anything."""
    small = encode_png(draw_cell()[0].rgb[::5, ::5])
    changed = st.lists(st.tuples(st.integers(0, len(small) - 1), st.integers(0, 255)), min_size=1, max_size=8).map(
        lambda pairs: bytes(dict(pairs).get(place, byte) for place, byte in enumerate(small))
    )
    return st.one_of(
        st.just(small), st.integers(0, len(png)).map(lambda end: png[:end]), changed, st.binary(max_size=300)
    )


@st.composite
def requests(draw, document, png):
    """A request that the document describes, or nearly so."""
    path = draw(st.sampled_from([*document["paths"]] + 4 * ["/analyse"]))
    method = draw(st.sampled_from([*document["paths"][path]] * 6 + ["get", "post", "delete"]))
    told = document["paths"][path].get(method, {})
    parameters = {
        one["name"]: draw(values(one["schema"])) for one in told.get("parameters", []) if draw(st.integers(0, 3)) == 0
    }
    if draw(st.integers(0, 19)) == 0:
        parameters[draw(st.text(max_size=5))] = draw(st.text(max_size=5))
    how = {"params": parameters}
    if "requestBody" in told:
        kind = draw(st.sampled_from([*told["requestBody"]["content"], "text/plain"]))
        body = draw(damaged(png))
        if kind == "multipart/form-data" and draw(st.integers(0, 4)):
            name = draw(st.sampled_from(["image"] * 4 + ["other"]))
            how["files"] = {name: (draw(st.text(max_size=12)), io.BytesIO(body))}
        else:
            how |= {"content": body, "headers": {"content-type": kind.replace("*", "png")}}
    return method, path, how


def test_whatever_comes_is_answered_as_the_document_says(client, png):
    document = client.get("/openapi.json").json()
    seen = {}

    @settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(requests(document, png))
    def ask(request):
        method, path, how = request
        answer = client.request(method, path, **how)
        told = document["paths"][path].get(method)
        statuses = told["responses"] if told else {"405": {"content": {"application/json": {"schema": PROBLEM}}}}
        assert str(answer.status_code) in statuses
        assert answer.status_code < 500
        schema = statuses[str(answer.status_code)]["content"]["application/json"]["schema"]
        whole = {**schema, "components": document["components"]}
        jsonschema.Draft202012Validator(whole).validate(answer.json())
        seen[path, answer.status_code] = seen.get((path, answer.status_code), 0) + 1

    ask()
    assert seen["/analyse", 200] >= 10
    assert {status for path, status in seen if path == "/analyse"} >= {200, 400, 415, 422}
