"""The HTTP service: who may ask, how much may come and how many at once; every refusal is JSON with a sentence.

An image is analysed by the guarded workers of the pages (`core.support.bounded.Desk`), and kept nowhere.
"""

import hmac
import logging
import math
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import anyio
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from core.domain.errors import CoreError, ImageError, LimitError, UsageError
from core.domain.options import CellChoice
from core.domain.settings import load_settings
from core.domain.types import CellAnalysis, CellImage, GivenScale
from core.domain.versions import software_versions
from core.image.file_scale import OF_FILE, Scale
from core.pipeline import ReceivedImage, analyse_received, limits_of_an_image, lost_in_words, open_warm
from core.populations.summaries import ReferencePopulation
from core.segmentation.model_registry import ModelEntry
from core.serving.answers import (
    AnalyseQuery,
    FeatureChoice,
    ProblemAnswer,
    ServedModel,
    ServiceHealth,
    ServiceProblem,
    image_answer,
)
from core.serving.openapi import PROBLEMS, document
from core.support import records
from core.support.bounded import Desk
from core.support.text import shown

# So many images wait for each worker; who comes then is asked to come back.
WAITING: Final = 2
RETRY_AFTER_S: Final = 5
LOCAL: Final = ("127.0.0.1", "localhost", "::1")
# A form is so much longer than the image in it, at most.
_FORM_BYTES: Final = 16_384
# Answered without a token: whoever watches the service knows no cell.
_OPEN: Final = ("/health",)
_FORM: Final = "multipart/form-data"
_RAW: Final = ("image/", "application/octet-stream")
_LOG: Final = logging.getLogger(__name__)

Analysed = tuple[CellImage, tuple[CellAnalysis, ...]]


class AnalysisDesk(Protocol):
    """Whoever analyses images, one call an image, from any thread."""

    def ask(self, item: ReceivedImage) -> Analysed:
        """The image and its cells; raises CoreError."""
        ...


class RefusedRequestError(Exception):
    """A request that is answered with a status, a word and a sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class ServiceSettings:
    """Who may ask: `host` that the service listens on, `token` that a request must show (empty: none), workers."""

    host: str = LOCAL[0]
    token: str = ""
    workers: int = 1

    def __post_init__(self) -> None:
        """Raise UsageError where strangers could ask without a token."""
        if self.host not in LOCAL and not self.token:
            msg = (
                f"{self.host} can be reached by others, but there is no token; set LEUKOSCOPE_TOKEN to a long random"
                " text, or leave --host at 127.0.0.1"
            )
            raise UsageError(msg)

    @property
    def most(self) -> int:
        """Images at once, waiting ones among them."""
        return self.workers * (1 + WAITING)


def open_desk(model: ModelEntry, workers: int) -> Desk[ReceivedImage, Analysed]:
    """Workers of a model; the first opens it at once."""
    limits = limits_of_an_image()
    desk = Desk(analyse_received, partial(open_warm, model, limits.megabytes), limits, most=workers)
    desk.warm()
    return desk


def service(
    model: ModelEntry, desk: AnalysisDesk, populations: Sequence[ReferencePopulation], settings: ServiceSettings
) -> Starlette:
    """The service as an ASGI application."""
    return _Service(model, desk, populations, settings).application()


class _Service:
    def __init__(
        self,
        model: ModelEntry,
        desk: AnalysisDesk,
        populations: Sequence[ReferencePopulation],
        settings: ServiceSettings,
    ) -> None:
        self._model, self._desk, self._populations, self._settings = model, desk, populations, settings
        self._document = document(token=bool(settings.token))
        self._under_way = 0
        self._threads = anyio.CapacityLimiter(settings.most)

    def application(self) -> Starlette:
        routes = [
            Route("/health", self._answering(self._health), methods=["GET"]),
            Route("/model", self._answering(self._told_model), methods=["GET"]),
            Route("/openapi.json", self._answering(self._described), methods=["GET"]),
            Route("/analyse", self._answering(self._analyse), methods=["POST"]),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _unknown, Exception: _unexpected})

    def _answering(self, handle: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
        """The handler with its guard, whose refusals are answers."""

        async def answer(request: Request) -> Response:
            try:
                self._check(request)
                return _json(await handle(request))
            except RefusedRequestError as refused:
                return _problem(refused.status, refused.code, refused.message)
            except (ImageError, LimitError) as error:
                return _problem(422, "image", str(error))
            except UsageError as error:
                return _problem(400, "usage", str(error))
            except CoreError as error:
                _LOG.exception("an image was not analysed")
                return _problem(500, "engine", str(error))

        return answer

    def _check(self, request: Request) -> None:
        """Raise RefusedRequestError for a stranger: a page of another host, a wrong name of this one, no token."""
        try:
            host = urlsplit(f"//{request.headers.get('host', '')}").hostname
            origin = urlsplit(request.headers.get("origin", f"http://{host}")).hostname
        except ValueError:
            host = origin = None
        if self._settings.host in LOCAL and host not in LOCAL:
            raise RefusedRequestError(421, "host", "this service answers only as 127.0.0.1 or localhost")
        if origin != host:
            raise RefusedRequestError(403, "origin", "pages of other hosts are not answered")
        if self._settings.token and request.url.path not in _OPEN:
            came = request.headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(came.encode(), self._settings.token.encode()):
                raise RefusedRequestError(401, "token", "send the header `Authorization: Bearer TOKEN`")
        if request.url.path != "/analyse" and request.query_params:
            raise RefusedRequestError(400, "usage", f"{request.url.path} takes no parameters")

    async def _health(self, _: Request) -> ServiceHealth:
        return ServiceHealth("ok", self._under_way, self._settings.most)

    async def _described(self, _: Request) -> dict[str, Any]:
        return self._document

    async def _told_model(self, _: Request) -> ServedModel:
        entry, card = self._model, self._model.card
        return ServedModel(
            model_id=entry.model_id,
            sha256=entry.sha256,
            created=card.created,
            architecture=card.architecture,
            intended_use=card.intended_use,
            limits=card.limits,
            licence=card.licence,
            not_sealed=list(entry.unsealed),
            populations=[reference.title for reference in self._populations],
            versions=software_versions(),
        )

    async def _analyse(self, request: Request) -> Any:  # noqa: ANN401 (a ServedImage)
        if self._under_way >= self._settings.most:
            raise RefusedRequestError(503, "busy", f"{self._under_way} images are under way; ask again in a moment")
        self._under_way += 1
        try:
            query = asked(request.query_params.multi_items())
            data, name = await _received(request)
            item = ReceivedImage(data, name or query.name, _scale(query), query.cells)
            return await anyio.to_thread.run_sync(self._work, item, query, limiter=self._threads)
        finally:
            self._under_way -= 1

    def _work(self, item: ReceivedImage, query: AnalyseQuery) -> Any:  # noqa: ANN401 (a ServedImage)
        try:
            image, analyses = self._desk.ask(item)
        except LimitError as error:
            raise LimitError(lost_in_words(item.name, str(error))) from error
        return image_answer(image, analyses, query, self._model, self._populations)


# --- what comes -------------------------------------------------------------------------------------------------------


def asked(items: Sequence[tuple[str, str]]) -> AnalyseQuery:
    """The question in an address; raises RefusedRequestError for one that cannot be understood."""
    given = dict(items)
    known = [field.name for field in fields(AnalyseQuery)]
    if unknown := sorted(set(given) - set(known)):
        msg = f"unknown parameters {', '.join(map(shown, unknown))}; known are {', '.join(known)}"
        raise RefusedRequestError(400, "usage", msg)
    if len(given) < len(items):
        raise RefusedRequestError(400, "usage", "each parameter may be given once")
    plain: dict[str, Any] = {}
    for name, text in given.items():
        try:
            plain[name] = _READ[name](text)
        except (ValueError, KeyError):
            msg = f"{name} cannot be {shown(text)!r}; /openapi.json says what it may be"
            raise RefusedRequestError(400, "usage", msg) from None
    return AnalyseQuery(**plain)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


_READ: Final[dict[str, Callable[[str], Any]]] = {
    "name": str,
    "cells": CellChoice,
    "um_per_px": lambda text: OF_FILE if text == OF_FILE else _number(text),
    "um_per_px_error": _number,
    "features": FeatureChoice,
    "places": {"true": True, "false": False}.__getitem__,
}


def _scale(query: AnalyseQuery) -> Scale:
    if query.um_per_px is None or query.um_per_px == OF_FILE:
        if query.um_per_px_error is not None:
            raise RefusedRequestError(400, "usage", "um_per_px_error is that of um_per_px in micrometres; give both")
        return OF_FILE if query.um_per_px else None
    return GivenScale(float(query.um_per_px), query.um_per_px_error)


async def _received(request: Request) -> tuple[bytes, str]:
    """The bytes of the image and its name, empty where none was given; raises RefusedRequestError."""
    settings = load_settings()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM and not kind.startswith(_RAW):
        msg = f"send the image with Content-Type image/* or application/octet-stream, or as a {_FORM} file `image`"
        raise RefusedRequestError(415, "content_type", msg)
    most = settings.max_bytes + (_FORM_BYTES if kind == _FORM else 0)
    try:
        with anyio.fail_after(settings.max_seconds):
            data = b"".join([chunk async for chunk in _limited(request, most)])
    except TimeoutError:
        raise RefusedRequestError(408, "slow", f"the image did not come within {settings.max_seconds:g} s") from None
    except ClientDisconnect:
        raise RefusedRequestError(400, "gone", "the connection ended before the image was there") from None
    if kind == _FORM:
        return await _in_form(request, data)
    if not data:
        raise RefusedRequestError(400, "empty", "no image came; send its file as the body of the request")
    return data, ""


async def _limited(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    came = 0
    async for chunk in request.stream():
        came += len(chunk)
        if came > most:
            msg = f"an image may have {load_settings().max_bytes:,} bytes (LEUKOSCOPE_MAX_BYTES); scale it down"
            raise RefusedRequestError(413, "size", msg)
        yield chunk


async def _in_form(request: Request, body: bytes) -> tuple[bytes, str]:
    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(request.headers, once(), max_files=1, max_fields=0)
    parser.spool_max_size = len(body) + 1  # nothing of it goes to the disk
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        msg = f"the form cannot be read ({shown(str(error))}); it must hold one file `image` and nothing else"
        raise RefusedRequestError(400, "form", msg) from None
    try:
        file = form.get("image")
        if not isinstance(file, UploadFile):
            raise RefusedRequestError(400, "form", "the form must hold one file `image` and nothing else")
        data, name = await file.read(), file.filename or ""
    finally:
        await form.close()
    if not data:
        raise RefusedRequestError(400, "empty", "no image came: the file `image` is empty")
    return data, name


# --- what goes --------------------------------------------------------------------------------------------------------


def _json(answer: object, status: int = 200) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(records.to_json(answer, ascii_only=True), status, headers, "application/json")


def _problem(status: int, code: str, message: str) -> Response:
    return _json(ProblemAnswer(ServiceProblem(code, message)), status)


async def _unknown(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 400
    return _problem(status, {404: "not_found", 405: "method"}.get(status, "request"), PROBLEMS.get(status, str(error)))


async def _unexpected(_: Request, error: Exception) -> Response:
    return _problem(500, "unexpected", f"unexpected {type(error).__name__}; please report it")


def workers_by_default() -> int:
    """A worker for four cores, at least two: each has as many threads as there are cores."""
    return max(2, (os.cpu_count() or 1) // 4)
