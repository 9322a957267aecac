"""How the pages say things: signs, times, text from outside."""

from __future__ import annotations

import json
import time
from typing import Any

from markupsafe import Markup, escape

from kantor.envelope import rfc3339
from kantor_orchestrator import voice
from kantor_orchestrator.view.trace import Move
from kantor_orchestrator.words import count, duration

#: Characters of one text from outside that a page shows.
MOST_TEXT = 20_000
_INVISIBLE = {
    **dict.fromkeys((*range(9), 11, 12, *range(14, 32), *range(127, 160)), "�"),
    # What turns the direction of the text around it: shown as what it is.
    **{n: f"⟨U+{n:04X}⟩" for n in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)},
}


def plain(value: object) -> str:
    """Text from outside, without what steers how the page shows it, and not endless."""
    text = str(value)
    cut = text[:MOST_TEXT].translate(_INVISIBLE)
    return cut if len(text) <= MOST_TEXT else f"{cut}… ({len(text) - MOST_TEXT:,} more characters)"


def bidi(value: object) -> Markup:
    """The same, kept apart from the direction of what is around it."""
    return Markup("<bdi>{}</bdi>").format(plain(value))


def pretty(value: Any) -> str:
    """JSON for people."""
    return plain(json.dumps(value, indent=2, ensure_ascii=False))


def stamp(milliseconds: int, form: str = "full") -> Markup:
    """A time in UTC, which the page's script turns into the reader's zone, keeping UTC for the hover. ``form``: full,
    clock."""
    if not milliseconds:
        return Markup("–")
    utc = rfc3339(milliseconds)
    text = utc.replace("T", " ").replace("Z", " UTC") if form == "full" else utc.partition("T")[2][:12]
    return Markup('<time datetime="{}" data-form="{}" title="{} UTC">{}</time>').format(
        utc, form, utc[:-1].replace("T", " "), escape(text)
    )


def ago(milliseconds: int) -> Markup:
    """How long ago, or from now."""
    if not milliseconds:
        return Markup("–")
    away = _coarse(int(time.time() * 1000) - milliseconds)
    text = f"{duration(away)} ago" if away >= 0 else f"in {duration(-away)}"
    utc = rfc3339(milliseconds)
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        utc, utc[:-1].replace("T", " "), text
    )


def age(milliseconds: int) -> str:
    """Since then."""
    return duration(_coarse(max(0, int(time.time() * 1000) - milliseconds))) if milliseconds else "–"


def _coarse(milliseconds: int) -> int:
    """Whole seconds, of what goes on: more digits would be over before they are read."""
    return milliseconds if abs(milliseconds) < 1_000 else milliseconds // 1_000 * 1_000


def said(move: Move) -> Markup:
    """A transition in words."""
    return bidi(voice.sentence(move))


def hex_dump(data: bytes) -> str:
    """As ``xxd`` prints it."""
    lines = []
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:08x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  {text}")
    return "\n".join(lines)


__all__ = [
    "age",
    "ago",
    "bidi",
    "count",
    "duration",
    "hex_dump",
    "plain",
    "pretty",
    "said",
    "stamp",
]
