"""A log record never breaks what it tells of."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from stream_kernel.observability.quiet import QuietLogger

NAME = "stream_kernel.test_quiet"


class Broken(logging.Handler):
    """Fails at each record."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("the disk is full")


@pytest.fixture
def broken_handler() -> Iterator[None]:
    logger, handler = logging.getLogger(NAME), Broken()
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


@pytest.mark.fault("FAULT-37")
@pytest.mark.usefixtures("broken_handler")
def test_what_a_handler_raises_stays_in_it(caplog: pytest.LogCaptureFixture) -> None:
    logger = QuietLogger(NAME)
    with caplog.at_level(logging.DEBUG, NAME):
        with pytest.raises(OSError, match="full"):
            logging.getLogger(NAME).error("the handler is broken")
        for say in (logger.debug, logger.info, logger.warning, logger.error):
            say("%s goes on", "it")


def test_records_arrive_with_their_level(caplog: pytest.LogCaptureFixture) -> None:
    logger = QuietLogger(NAME)
    with caplog.at_level(logging.INFO, NAME):
        assert (logger.is_enabled_for(logging.INFO), logger.is_enabled_for(logging.DEBUG)) == (True, False)
        logger.debug("hidden")
        logger.info("%d worker", 1)
        logger.error("gone")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("INFO", "1 worker"), ("ERROR", "gone")]
