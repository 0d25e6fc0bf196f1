"""What a string must be to travel."""

from __future__ import annotations

__all__ = ["is_utf8"]


def is_utf8(*texts: str | None) -> bool:
    """Whether all these texts can be sent: a lone surrogate (from a file name, for instance) cannot."""
    try:
        for text in texts:
            if text is not None and not text.isascii():
                text.encode()
    except UnicodeEncodeError:
        return False
    return True
