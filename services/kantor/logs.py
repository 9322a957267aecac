"""Logs: the standard library's, with ``extra={"action": ...}`` on every record, as text or as JSON lines."""

from __future__ import annotations

import json
import logging
import os
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
        raise ConfigError(f"{ENV_FORMAT}={format_!r}: text or json")
    if level not in logging.getLevelNamesMapping():
        raise ConfigError(f"{ENV_LEVEL}={level!r}: DEBUG, INFO, WARNING or ERROR")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service) if format_ == "json" else TextFormatter(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.000Z INFO payment: ready action=ready port=8080``"""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {name}={value}" for name, value in _extra(record).items())
        time = rfc3339(int(record.created * 1000))
        line = f"{time} {record.levelname} {self._service}: {record.getMessage()}{extra}"
        return line + _traceback(record)


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
