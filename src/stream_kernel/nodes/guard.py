"""Whether this process is a worker that is importing nodes: a supervisor started then would start workers without end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stream_kernel.errors import ConfigurationError

__all__ = ["importing_nodes", "refuse_while_importing"]

_importing = False


@contextmanager
def importing_nodes() -> Iterator[None]:
    """Mark the time in which a worker imports user modules."""
    global _importing  # noqa: PLW0603  a fact about the process
    _importing = True
    try:
        yield
    finally:
        _importing = False


def refuse_while_importing() -> None:
    """Raise `ConfigurationError` when called from a module that a worker is importing."""
    if _importing:
        raise ConfigurationError(
            "a supervisor is started while a worker imports this module, so every worker would start workers of its own. "
            'Put what starts it under a guard:\n\n    if __name__ == "__main__":\n        main()'
        )
