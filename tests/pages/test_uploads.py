"""What a browser is told about an upload outlives the beginning of a run."""

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue

from pages._ui.common import uploads


@pytest.fixture
def queue(monkeypatch) -> ForwardMsgQueue:
    """A queue of Streamlit as it comes, in which an answer about an upload and a part of the page wait."""
    monkeypatch.setattr(ForwardMsgQueue, "clear", uploads._CLEAR)
    made = ForwardMsgQueue()
    answer, part = ForwardMsg(), ForwardMsg()
    answer.file_urls_response.response_id = "7"
    part.delta.new_element.text.body = "an old text"
    made.enqueue(answer)
    made.enqueue(part)
    return made


def kinds(queue: ForwardMsgQueue) -> list[str]:
    return [message.WhichOneof("type") for message in queue.flush()]


@pytest.mark.parametrize(("fragments", "left"), [(None, []), (["a"], ["delta"])])
def test_the_answer_stays_when_a_run_begins(queue, fragments, left):
    uploads.keep_answers_about_uploads()
    queue.clear(retain_lifecycle_msgs=True, fragment_ids_this_run=fragments)
    assert sorted(kinds(queue)) == sorted([*left, "file_urls_response"]), "once, and no old part of a page with it"


def test_it_is_sent_once(queue):
    uploads.keep_answers_about_uploads()
    assert kinds(queue) == ["file_urls_response", "delta"]
    assert kinds(queue) == []


def test_streamlit_still_loses_it_by_itself(queue):
    """Should this fail, Streamlit has mended it: `pages/_ui/common/uploads.py` may go."""
    queue.clear(retain_lifecycle_msgs=True)
    assert kinds(queue) == []
