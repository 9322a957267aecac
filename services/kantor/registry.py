"""Schemas in a Confluent-compatible registry (Confluent, Karapace, Apicurio's ccompat, Redpanda), over urllib.

Subjects follow TopicRecordName, ``<topic>-<full name>`` (wire-9). Sources: Confluent Schema Registry API reference; GUIDs since
Confluent Platform 8.0 (``GET /schemas/guids/{guid}``).
"""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any
from uuid import UUID

from kantor.codec import parse_schema
from kantor.errors import CodecError, ConfigError, RegistryUnavailableError, UnknownSchemaError
from kantor_schemas import Schema, canonical_json, full_name

log = logging.getLogger("kantor.registry")

_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
#: Seconds that one request may take.
_TIMEOUT = 5.0
#: Seconds to wait before each further try: a restarting registry is back soon; the caller waits for a longer outage.
_PAUSES = (0.1, 0.4)
#: Schemas that one may need, directly or not.
_MAX_REFERENCES = 100
_NAMED = ("record", "error", "enum", "fixed")


class RegistrySchemas:
    """A ``SchemaStore``. Thread-safe; what was asked once is remembered."""

    def __init__(self, url: str, sleep: Callable[[float], None] = time.sleep) -> None:
        """``url`` may hold ``user:password@``. Raises ``ConfigError`` if it is no http(s) URL."""
        # Not the whole of it in an error: it may hold a password.
        wrong = (
            f"the schema registry's URL, which ends in {url.rpartition('@')[2]!r}, is none: http://host:port"
        )
        try:
            parts = urllib.parse.urlsplit(url)
        except ValueError:
            raise ConfigError(wrong) from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(wrong)
        host = parts.netloc.rpartition("@")[2]
        self._base = f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
        self._headers = {"Accept": _MEDIA_TYPE, "Content-Type": _MEDIA_TYPE}
        if parts.username is not None:
            user = urllib.parse.unquote(parts.username)
            password = urllib.parse.unquote(parts.password or "")
            token = base64.b64encode(f"{user}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {token}"
        self._sleep = sleep
        self._ids: dict[tuple[str, str], int] = {}
        self._schemas: dict[int | UUID, Schema] = {}
        self._lock = threading.Lock()

    def id_of(self, schema: Schema, topic: str) -> int:
        """Register under ``<topic>-<full name>`` (a known schema keeps its id). See ``SchemaStore``."""
        text = canonical_json(schema)
        subject = f"{topic}-{full_name(schema)}"
        with self._lock:
            id_ = self._ids.get((subject, text))
        if id_ is None:
            path = f"/subjects/{urllib.parse.quote(subject, safe='')}/versions"
            answer = self._ask("POST", path, {"schema": text, "schemaType": "AVRO"})
            if answer is None:
                raise CodecError(f"the registry has no {path}: is {self._base} the right address?")
            id_ = int(answer["id"])
            with self._lock:
                self._ids[subject, text] = id_
        return id_

    def schema_of(self, id_: int | UUID) -> Schema:
        """See ``SchemaStore``."""
        with self._lock:
            schema = self._schemas.get(id_)
        if schema is None:
            path = f"/schemas/guids/{id_}" if isinstance(id_, UUID) else f"/schemas/ids/{id_}"
            answer = self._ask("GET", path)
            if answer is None:
                raise UnknownSchemaError(id_, self._base)
            if answer.get("schemaType", "AVRO") != "AVRO":
                raise CodecError(f"schema {id_} is {answer['schemaType']}, not Avro")
            try:
                schema = self._inline(answer)
            except (KeyError, TypeError, AttributeError) as error:
                raise CodecError(
                    f"the registry's answer for schema {id_} can't be used: {error!r}"
                ) from error
            with self._lock:
                self._schemas[id_] = schema
        return schema

    def _inline(self, answer: dict[str, Any]) -> Schema:
        """A schema with what it references, and what that references, put in the place of the first use: Avro wants each name
        defined once."""
        schema = parse_schema(answer["schema"])
        named: dict[str, Schema] = {}
        self._references(answer, named, set())
        space = full_name(schema).rpartition(".")[0]
        return dict(_replace(schema, named, space)) if named else schema

    def _references(self, answer: dict[str, Any], named: dict[str, Schema], asked: set[str]) -> None:
        """Into ``named``: the schemas that this one needs, by the names that it calls them."""
        for reference in answer.get("references") or ():
            path = f"/subjects/{urllib.parse.quote(reference['subject'], safe='')}/versions/{reference['version']}"
            if path in asked:
                continue
            asked.add(path)
            if len(asked) > _MAX_REFERENCES:
                raise CodecError(f"a schema that needs more than {_MAX_REFERENCES} others")
            found = self._ask("GET", path)
            if found is None:
                raise CodecError(f"{reference['name']} is at {reference['subject']}, which is gone")
            named.setdefault(reference["name"], parse_schema(found["schema"]))
            self._references(found, named, asked)

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any] | None:
        """The answer, or None for "not found". Raises ``RegistryUnavailableError``, ``CodecError`` (refused)."""
        data = None if body is None else json.dumps(body).encode()
        failure: Exception | None = None
        for pause in (*_PAUSES, None):
            request = urllib.request.Request(  # noqa: S310 - the scheme was checked
                self._base + path, data, self._headers, method=method
            )
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310
                    answer = json.load(response)
                    return answer if isinstance(answer, dict) else {}
            except urllib.error.HTTPError as error:
                with error:
                    text = error.read(2000).decode("utf-8", "replace")
                if error.code == 404:
                    return None
                if error.code in (401, 403):
                    raise ConfigError(f"the registry refuses us ({error.code}): {text}") from error
                if error.code < 500 and error.code not in (408, 429):
                    raise CodecError(f"the registry refused {path} ({error.code}): {text}") from error
                failure = error
            except (OSError, ValueError, RecursionError) as error:
                failure = error
            if pause is not None:
                log.info("registry: %s; again in %.1f s", failure, pause, extra={"action": "registry_retry"})
                self._sleep(pause)
        raise RegistryUnavailableError(f"{self._base}{path}: {failure}") from failure


def _replace(schema: Any, named: dict[str, Schema], space: str) -> Any:
    """Depth first; each name in ``named`` is used up by its first occurrence."""
    if isinstance(schema, str):
        name = schema if "." in schema or not space else f"{space}.{schema}"
        found = named.pop(name, None) or named.pop(schema, None)
        return _replace(found, named, full_name(found).rpartition(".")[0]) if found else schema
    if isinstance(schema, list):
        return [_replace(branch, named, space) for branch in schema]
    result = dict(schema)
    if schema.get("type") in _NAMED:
        name = full_name({"namespace": space} | schema)
        named.pop(name, None)  # it is defined here
        space = name.rpartition(".")[0]
    if "fields" in schema:
        result["fields"] = [{**f, "type": _replace(f["type"], named, space)} for f in schema["fields"]]
    for part in ("items", "values"):
        if part in schema:
            result[part] = _replace(schema[part], named, space)
    if isinstance(schema.get("type"), dict | list):
        result["type"] = _replace(schema["type"], named, space)
    return result
