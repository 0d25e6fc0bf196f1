"""The name of a message class on the wire."""

from __future__ import annotations

__all__ = ["MAIN_ALIAS", "type_tag"]

MAIN_ALIAS = "__mp_main__"
"""The name under which a worker imports the started script again, so that its `__main__` guard stays shut."""


def type_tag(cls: type) -> str:
    """`module:qualname` of exactly this class; classes of the started script say `__main__` in every process."""
    module = "__main__" if cls.__module__ == MAIN_ALIAS else cls.__module__
    return f"{module}:{cls.__qualname__}"
