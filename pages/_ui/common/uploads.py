"""A mend of Streamlit: a file given in the moment in which a run of the page begins is not lost.

Before a browser sends a file it asks the server where to. Streamlit empties the queue of what it will send when a run
begins, and with it that answer: the browser waits for ever, and the page shows no file and says nothing.
"""

from typing import Final

from streamlit.runtime.forward_msg_queue import ForwardMsgQueue

_CLEAR: Final = ForwardMsgQueue.clear


def _clear(
    self: ForwardMsgQueue, retain_lifecycle_msgs: bool = False, fragment_ids_this_run: list[str] | None = None
) -> None:
    waiting = [message for message in self._queue if message.WhichOneof("type") == "file_urls_response"]
    _CLEAR(self, retain_lifecycle_msgs, fragment_ids_this_run)
    if retain_lifecycle_msgs:
        kept = set(map(id, self._queue))
        self._queue.extend(message for message in waiting if id(message) not in kept)


def keep_answers_about_uploads() -> None:
    """Let a beginning run leave in the queue what the browser was told about uploads; done once in a process."""
    ForwardMsgQueue.clear = _clear  # type: ignore[method-assign]
