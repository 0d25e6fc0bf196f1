"""Log records that cannot break what they tell of: a handler or a filter that raises must not end the supervision of a worker."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

__all__ = ["QuietLogger"]


class QuietLogger:
    """A logger whose methods never raise. What the logging of a program does with a record is that program's own affair."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def log(self, level: int, message: str, *arguments: object, **options: Any) -> None:
        with contextlib.suppress(Exception):
            self._logger.log(level, message, *arguments, **options)

    def is_enabled_for(self, level: int) -> bool:
        """Whether a record of that level would go anywhere."""
        return self._logger.isEnabledFor(level)

    def debug(self, message: str, *arguments: object) -> None:
        self.log(logging.DEBUG, message, *arguments)

    def info(self, message: str, *arguments: object) -> None:
        self.log(logging.INFO, message, *arguments)

    def warning(self, message: str, *arguments: object) -> None:
        self.log(logging.WARNING, message, *arguments)

    def error(self, message: str, *arguments: object, **options: Any) -> None:
        self.log(logging.ERROR, message, *arguments, **options)
