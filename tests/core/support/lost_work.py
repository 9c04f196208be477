"""What the processes of `test_bounded` do; light, because each of them imports it."""

import os
import signal
import time

from core.domain.errors import ImageError
from core.support import bounded

LIMITS = bounded.WorkLimits(1.0, 256)


def nothing():
    return None


def limited():
    bounded.limit_memory(LIMITS.megabytes)


def refusing():
    raise ImageError("no such model")


def ending():
    os._exit(9)


def done(item, _, alive):
    """An item is a number, or what happens at it."""
    alive("at it", 0.5)
    if item == "hangs":
        time.sleep(60)
    elif item == "takes all":
        return len(bytearray(2**33))
    elif item == "ends":
        os.kill(os.getpid(), signal.SIGKILL)
    elif item == "raises":
        raise ImageError("a.png: no image")
    elif item == "is slow":
        for _ in range(4):
            time.sleep(0.4)
            alive()
    elif str(item).startswith("/") and not os.path.exists(item):  # noqa: PTH110
        with open(item, "w"):  # noqa: PTH123
            os.kill(os.getpid(), signal.SIGKILL)
    return item, os.getpid()


def lost(item, what):
    return item, what
