import logging

import pytest

from core.evaluation.training_runs import CONFIG_FILE, MESSAGES_FILE, TrainingRun
from training.messages import kept_in

logger = logging.getLogger(__name__)


@pytest.fixture(autouse=True)
def _verbose(caplog):
    with caplog.at_level(logging.DEBUG):
        yield


def kept(folder):
    """What is kept, without the times."""
    return [line.split(" ", 1)[1] for line in (folder / MESSAGES_FILE).read_text(encoding="utf-8").splitlines()]


def test_what_is_said_before_the_folder_is_a_run_is_kept_when_it_is(tmp_path):
    folder = tmp_path / "run"
    with kept_in(folder):
        logger.warning("%s: the mask lies\nbeside the cell", "set1/a")
        logger.debug("nobody's business")
        folder.mkdir()
        (folder / CONFIG_FILE).write_text("")
        assert not (folder / MESSAGES_FILE).exists()
        logger.info("2 steps an epoch")
    assert kept(folder) == ["WARNING set1/a: the mask lies beside the cell", "INFO 2 steps an epoch"]
    assert TrainingRun(folder).warnings() == ["set1/a: the mask lies beside the cell"]
    logger.warning("too late")
    assert len(kept(folder)) == 2


def test_what_never_becomes_a_run_keeps_nothing(tmp_path):
    with kept_in(tmp_path):
        logger.warning("no image can be read")
    assert not list(tmp_path.iterdir())


def test_a_run_that_goes_on_says_so_and_repeats_nothing(tmp_path):
    (tmp_path / CONFIG_FILE).write_text("")
    for number in range(3):
        with kept_in(tmp_path):
            logger.warning("set1/a: it does not fit")
            logger.warning("set1/a: it does not fit")
            if number:
                logger.info("going on after epoch %d", number)
    going_on = "INFO the run goes on; what was said before is not said again"
    assert kept(tmp_path) == [
        "WARNING set1/a: it does not fit",
        going_on,
        "INFO going on after epoch 1",
        going_on,
        "INFO going on after epoch 2",
    ]
    with kept_in(tmp_path):
        logger.warning("set1/a: it does not fit")
    assert len(kept(tmp_path)) == 5


def test_a_place_that_refuses_the_messages_stops_nothing(tmp_path):
    (tmp_path / CONFIG_FILE).write_text("")
    (tmp_path / MESSAGES_FILE).mkdir()
    with kept_in(tmp_path):
        logger.warning("said to the terminal only")
