"""Templates to HTML. Everything is escaped; a name that a template misspells is an error, not an empty place."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kantor_orchestrator import voice
from kantor_orchestrator.view.status import in_words
from kantor_orchestrator.web import words

HERE = Path(__file__).parent
STATIC = HERE / "static"


def static_version() -> str:
    """Names the static files' content, so that browsers keep them until they change."""
    found = sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            found.update(path.read_bytes())
    return found.hexdigest()[:12]


class Pages:
    """Renders pages."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "age": words.age,
            "ago": words.ago,
            "bidi": words.bidi,
            "count": words.count,
            "duration": words.duration,
            "in_words": in_words,
            "plain": words.plain,
            "pretty": words.pretty,
            "said": words.said,
            "stamp": words.stamp,
        }
        self._environment.globals |= {
            "version": static_version(),
            "status_signs": voice.STATUS_SIGNS,
            "step_signs": voice.STEP_SIGNS,
            "message_signs": voice.MESSAGE_SIGNS,
        }

    def page(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(**values)
