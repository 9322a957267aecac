"""Whole numbers that people write into settings."""

from __future__ import annotations


def whole_number(text: str, most: int) -> int | None:
    """The number that ``text`` is, from 0 to ``most``; None: it is none of them. Digits are ASCII's, and few enough to be read."""
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(most)) or int(text) > most:
        return None
    return int(text)
