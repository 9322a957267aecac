"""Schemas in a Confluent-compatible registry (Confluent, Karapace, Apicurio's ccompat, Redpanda), over urllib.

Subjects follow TopicRecordName, ``<topic>-<full name>`` (wire-9). Sources: Confluent Schema Registry API reference; GUIDs since
Confluent Platform 8.0 (``GET /schemas/guids/{guid}``).
"""

from __future__ import annotations

import base64
import http.client
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

from kantor import timely
from kantor.codec import parse_schema
from kantor.errors import CodecError, ConfigError, RegistryUnavailableError, UnknownSchemaError
from kantor_schemas import Schema, canonical_json, full_name

log = logging.getLogger("kantor.registry")

_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
#: Seconds that one request may take, its whole answer included.
_TIMEOUT = 5.0
#: Seconds to wait before each further try: a restarting registry is back soon; the caller waits for a longer outage.
_PAUSES = (0.1, 0.4)
#: Bytes of an answer: more than any schema that is read has.
_MOST = 8 << 20
#: What the registry's own "not found" says (40401 subject, 40402 version, 40403 schema): a proxy's, or a wrong address's, does not.
_NOT_FOUND = range(40400, 40500)
#: Schemas that one may need, directly or not.
_MAX_REFERENCES = 100
#: Registries before Confluent's 8.0 have no GUIDs at all, and say 404 of these paths.
_GUIDS = "/schemas/guids/"
_CREDENTIALS = (
    "set a user and password that may do this in KANTOR_SCHEMA_REGISTRY_URL (http://user:password@host:port)"
)
_ADDRESS = "start it, or set its address in KANTOR_SCHEMA_REGISTRY_URL"
_NAMED = ("record", "error", "enum", "fixed")


class RegistrySchemas:
    """A ``SchemaStore``. Thread-safe; what was asked once is remembered."""

    def __init__(
        self, url: str, sleep: Callable[[float], None] = time.sleep, timeout: float = _TIMEOUT
    ) -> None:
        """``url`` may hold ``user:password@``. ``timeout``: seconds for each request, its whole answer included. Raises
        ``ConfigError`` if it is no http(s) URL."""
        # Not the whole of it in an error: it may hold a password.
        wrong = (
            f"the schema registry's URL, which ends in {url.rpartition('@')[2]!r}, is none: http://host:port"
        )
        try:
            parts = urllib.parse.urlsplit(url)
            is_port = parts.port != 0  # raises, if it is no port's number
        except ValueError:
            raise ConfigError(wrong) from None
        is_whole = url.isprintable() and " " not in url  # else no request with it could ever be made
        if parts.scheme not in ("http", "https") or not parts.hostname or not is_port or not is_whole:
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
        self._timeout = timeout
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
            found = answer.get("id") if answer is not None else None
            if type(found) is not int or not 0 <= found < 1 << 32:
                raise self._unusable("POST", path, f"{answer!r:.200}", _ADDRESS)
            id_ = found
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
            self._check(path, answer)
            try:
                schema = self._inline(answer)
            except (KeyError, TypeError, AttributeError) as error:
                raise CodecError(f"schema {id_} of the registry can't be used: {error!r}") from error
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
            self._check(path, found)
            named.setdefault(reference["name"], parse_schema(found["schema"]))
            self._references(found, named, asked)

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any] | None:
        """The answer, or None: the registry says that it has no such thing. Raises ``CodecError`` if it refuses what is asked for,
        ``RegistryUnavailableError`` for all that is no word of a registry at work: nothing is known then."""
        data = None if body is None else json.dumps(body).encode()
        failure = ""
        for pause in (*_PAUSES, None):
            request = urllib.request.Request(  # noqa: S310 - the scheme was checked
                self._base + path, data, self._headers, method=method
            )
            try:
                with timely.urlopen(request, self._timeout) as response:
                    answer = _json(_read(response))
                    if answer is not None:
                        return answer
                    failure = "an answer that is no JSON object"
            except urllib.error.HTTPError as error:
                status = error.code
                failure = f"{status}: {(text := _said(error))[:300].decode('utf-8', 'replace')}"
                if status in (401, 403):
                    raise self._unusable(method, path, failure, _CREDENTIALS) from error
                if status < 500 and status not in (408, 429):
                    code = (_json(text) or {}).get("error_code")
                    if status == 404 and (code in _NOT_FOUND or (code == 404 and path.startswith(_GUIDS))):
                        return None
                    if status in (409, 422):
                        raise CodecError(f"the registry refused {path} ({failure})") from error
                    raise self._unusable(method, path, failure, _ADDRESS) from error
            except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
                failure = str(error) or repr(error)
            if pause is not None:
                log.info("registry: %s; again in %.1f s", failure, pause, extra={"action": "registry_retry"})
                self._sleep(pause)
        raise self._unusable(method, path, failure, _ADDRESS)

    def _check(self, path: str, answer: dict[str, Any]) -> None:
        """Raises ``RegistryUnavailableError`` if this is no schema with its references: a registry would not say it."""
        references = answer.get("references") or []
        if not (
            isinstance(answer.get("schema"), str)
            and isinstance(references, list)
            and all(_is_reference(one) for one in references)
        ):
            raise self._unusable("GET", path, f"{answer!r:.200}", _ADDRESS)

    def _unusable(self, method: str, path: str, came: str, remedy: str) -> RegistryUnavailableError:
        return RegistryUnavailableError(
            f"the schema registry can't be used now: {method} {self._base}{path}: {came}; {remedy}"
        )


def _read(response: Any) -> bytes:
    """The body. Raises ``TimeoutError`` if it comes too slowly, ``ValueError`` if it is too large."""
    found = bytearray()
    while part := response.read(1 << 12):
        found += part
        if len(found) > _MOST:
            raise ValueError(f"an answer of more than {_MOST} bytes")
    length = getattr(response, "length", None)  # what is missing
    if length:
        raise http.client.IncompleteRead(bytes(found[:100]), length)
    return bytes(found)


def _said(error: urllib.error.HTTPError) -> bytes:
    """The body of a refusal, as far as it can be had."""
    with error:
        try:
            return error.read(2_000)
        except (OSError, ValueError, http.client.HTTPException) as cut:
            return str(cut).encode()


def _json(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_reference(found: Any) -> bool:
    kinds = {"name": str, "subject": str, "version": int}
    return isinstance(found, dict) and all(isinstance(found.get(name), kind) for name, kind in kinds.items())


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
