"""What a browser may load for the pages: only what this server sends.

Names and tables come from outside. Should one of them become more than text (`core.support.text`), it still reaches
nobody: the browser refuses to ask another host for pictures, fonts, scripts or data.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from starlette.middleware import Middleware

# Streamlit's own pages have scripts and styles in them, hand components over as blobs, and draw charts from expressions
# that are made into functions.
POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline' blob:",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' data: blob:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
    )
)

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]


class NoForeignHosts:
    """ASGI middleware that adds the policy to every answer."""

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Pass a request on, and its answer back with the policy."""

        async def with_policy(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self._app(scope, receive, with_policy)


MIDDLEWARE: Final = (Middleware(NoForeignHosts),)
