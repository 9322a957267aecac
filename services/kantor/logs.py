"""Logs: the standard library's, with ``extra={"action": ...}`` on every record, as text or as JSON lines."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from typing import Any

from kantor.envelope import rfc3339
from kantor.errors import ConfigError

ENV_FORMAT = "KANTOR_LOG"
ENV_LEVEL = "KANTOR_LOG_LEVEL"

#: What every LogRecord has; the rest came by ``extra``.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(service: str) -> None:
    """Log to stderr, as ``KANTOR_LOG`` (``text`` or ``json``) and ``KANTOR_LOG_LEVEL`` say. For programs, at their start.

    Raises ``ConfigError``.
    """
    format_, level = os.environ.get(ENV_FORMAT, "text"), os.environ.get(ENV_LEVEL, "INFO").upper()
    if format_ not in ("text", "json"):
        raise ConfigError(
            f"{ENV_FORMAT}={format_!r} is not a log format; set it to text or json, or unset it"
        )
    if level not in logging.getLevelNamesMapping():
        raise ConfigError(
            f"{ENV_LEVEL}={level!r} is not a log level; set it to DEBUG, INFO, WARNING or ERROR, or unset it"
        )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service) if format_ == "json" else TextFormatter(service))
    handler.addFilter(Repeats())
    logging.basicConfig(level=level, handlers=[handler], force=True)


class Repeats(logging.Filter):
    """Lets librdkafka say the same thing once in ``SECONDS``: without a broker it says it 20 times a second."""

    SECONDS = 10.0

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != "kantor.kafka" or hasattr(record, "action"):
            return True
        if "enable.gapless.guarantee is experimental" in record.getMessage():
            return False  # intake's own setting, on purpose (it keeps order whatever happens); said at each start
        # "... failed: Connection refused (after 0ms in state CONNECT)": the end differs.
        text = record.getMessage().rpartition("(after ")[0] or record.getMessage()
        if record.created - self._said.get(text, 0.0) < self.SECONDS:
            return False
        if len(self._said) > 100:
            self._said.clear()
        self._said[text] = record.created
        return True


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.000Z INFO payment: ready action=ready port=8080``"""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {name}={_quoted(str(value))}" for name, value in _extra(record).items())
        time = rfc3339(int(record.created * 1000))
        line = f"{time} {record.levelname} {self._service}: {record.getMessage()}{extra}"
        return line + _traceback(record)


def _quoted(value: str) -> str:
    """As in logfmt: what has a space, a quote, an equals sign or a line's end in it stands in quotes, so that programs can
    tell where it ends."""
    return value if value and re.fullmatch(r'[^\s"=]+', value) else json.dumps(value, ensure_ascii=False)


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": rfc3339(int(record.created * 1000)),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["traceback"] = _traceback(record).strip()
        return json.dumps(line, default=str, ensure_ascii=False)


def _traceback(record: logging.LogRecord) -> str:
    return "\n" + logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
