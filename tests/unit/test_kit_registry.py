"""The client of a schema registry, against recorded answers (wire-9)."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from typing import Any
from uuid import UUID

import pytest

from kantor import timely
from kantor.codec import Codec, SchemaStore
from kantor.errors import CodecError, ConfigError, RegistryUnavailableError, UnknownSchemaError
from kantor.kafka import KafkaSettings
from kantor.registry import RegistrySchemas
from kantor.schemas import SCHEMAS_TOPIC, KafkaSchemas, schema_store
from kantor.testing import MemoryBroker
from kantor_schemas import Schema

POINT: Schema = {
    "type": "record",
    "name": "Point",
    "namespace": "geo",
    "fields": [{"name": "x", "type": "int"}],
}
GUID = UUID("a3e8f5c2-0f0b-4b58-9f0c-6f5f0a0e9d11")
BASE = "http://registry:8081"


class Recorded:
    """Answers requests as recorded: ``{"GET /path": [(status, body), ...]}``; the last one again and again."""

    def __init__(self, answers: dict[str, list[Any]]) -> None:
        self.answers = answers
        self.requests: list[urllib.request.Request] = []

    def __call__(self, request: urllib.request.Request, timeout: float) -> Any:
        self.requests.append(request)
        path = request.full_url.removeprefix(BASE)
        answers = self.answers[f"{request.get_method()} {path}"]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        status, body = answer
        text = io.BytesIO(json.dumps(body).encode())
        if status >= 400:
            raise urllib.error.HTTPError(request.full_url, status, "no", Message(), text)
        return text


def registry(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[Any]], url: str = BASE
) -> tuple[RegistrySchemas, Recorded]:
    recorded = Recorded(answers)
    monkeypatch.setattr(timely, "urlopen", recorded)
    return RegistrySchemas(url, sleep=lambda _: None), recorded


@contextmanager
def answering(sent: bytes) -> Iterator[str]:
    """The URL of a server that says this to everybody, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    connection.sendall(sent)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_register(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schema is registered under topic and full name (TopicRecordName), once."""
    schemas, recorded = registry(
        monkeypatch, {"POST /subjects/evt.geo.v1-geo.Point/versions": [(200, {"id": 7})]}
    )
    assert [schemas.id_of(POINT, "evt.geo.v1"), schemas.id_of(POINT, "evt.geo.v1")] == [7, 7]
    (request,) = recorded.requests
    assert isinstance(request.data, bytes)
    body = json.loads(request.data)
    assert body["schemaType"] == "AVRO"
    assert json.loads(body["schema"]) == POINT


def test_one_subject_for_each_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same record on another topic is another subject."""
    answers: dict[str, list[Any]] = {
        "POST /subjects/a-geo.Point/versions": [(200, {"id": 7})],
        "POST /subjects/b-geo.Point/versions": [(200, {"id": 8})],
    }
    schemas, _ = registry(monkeypatch, answers)
    assert [schemas.id_of(POINT, "a"), schemas.id_of(POINT, "b")] == [7, 8]


def test_read_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schema is fetched by id, once."""
    schemas, recorded = registry(monkeypatch, {"GET /schemas/ids/7": [(200, {"schema": json.dumps(POINT)})]})
    assert [schemas.schema_of(7), schemas.schema_of(7)] == [POINT, POINT]
    assert len(recorded.requests) == 1


def test_read_by_guid(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value in header form with a GUID is read: Confluent's serializers write that since 8.1."""
    answers = {f"GET /schemas/guids/{GUID}": [(200, {"schema": json.dumps(POINT)})]}
    schemas, _ = registry(monkeypatch, answers)
    assert Codec(schemas).decode(b"\x02", {"__value_schema_id": b"\1" + GUID.bytes}) == {"x": 1}


def test_references_are_put_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schema that references others is read as one: each in the place of its first use."""
    line = {
        "type": "record",
        "name": "Line",
        "namespace": "geo",
        "fields": [{"name": "from", "type": "Point"}, {"name": "to", "type": ["null", "geo.Point"]}],
    }
    reference = {"name": "geo.Point", "subject": "points", "version": 2}
    answers: dict[str, list[Any]] = {
        "GET /schemas/ids/9": [(200, {"schema": json.dumps(line), "references": [reference]})],
        "GET /subjects/points/versions/2": [(200, {"schema": json.dumps(POINT)})],
    }
    schemas, _ = registry(monkeypatch, answers)
    assert schemas.schema_of(9)["fields"] == [
        {"name": "from", "type": POINT},
        {"name": "to", "type": ["null", "geo.Point"]},
    ]
    assert Codec(schemas).decode(bytes.fromhex("0000000009020202")) == {"from": {"x": 1}, "to": {"x": 1}}


def test_references_that_share_a_third(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two references of one schema need the same type, as it does itself: it is put in once."""
    line = {"type": "record", "name": "geo.Line", "fields": [{"name": "to", "type": "geo.Point"}]}
    area = {"type": "record", "name": "geo.Area", "fields": [{"name": "at", "type": "geo.Point"}]}
    both = {
        "type": "record",
        "name": "geo.Both",
        "fields": [
            {"name": "line", "type": "Line"},
            {"name": "area", "type": "Area"},
            {"name": "p", "type": "Point"},
        ],
    }

    def schema(value: Schema, *names: str) -> list[Any]:
        references = [{"name": f"geo.{name}", "subject": name, "version": 1} for name in names]
        return [(200, {"schema": json.dumps(value), "references": references})]

    answers: dict[str, list[Any]] = {
        "GET /schemas/ids/9": schema(both, "Line", "Area", "Point"),
        "GET /subjects/Line/versions/1": schema(line, "Point"),
        "GET /subjects/Area/versions/1": schema(area, "Point"),
        "GET /subjects/Point/versions/1": schema(POINT),
    }
    schemas, _ = registry(monkeypatch, answers)
    point = {"x": 1}
    assert Codec(schemas).decode(bytes.fromhex("0000000009020202")) == {
        "line": {"to": point},
        "area": {"at": point},
        "p": point,
    }


@pytest.mark.parametrize(
    "answer",
    [
        (200, {"references": 7}),
        (200, {}),
        (200, [POINT]),
        (200, {"schema": 7}),
        (200, {"schema": "{}", "references": [{"name": "a.B", "subject": "b", "version": "1 HTTP/1.1"}]}),
        (404, {}),
        (404, {"error_code": 404, "message": "HTTP 404 Not Found"}),
        (400, {"message": "plain HTTP request was sent to HTTPS port"}),
        http.client.IncompleteRead(b"{"),
        http.client.BadStatusLine("garbage"),
    ],
)
def test_an_answer_that_no_registry_gives(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    """A proxy, a wrong address or a cut connection says nothing of the schema: the caller waits, and is told what was asked, what
    came and what to set."""
    schemas, _ = registry(monkeypatch, {"GET /schemas/ids/7": [answer]})
    with pytest.raises(
        RegistryUnavailableError, match=f"GET {BASE}/schemas/ids/7: .*KANTOR_SCHEMA_REGISTRY_URL"
    ):
        schemas.schema_of(7)


@pytest.mark.parametrize("answer", [(200, {}), (200, {"id": "7"}), (200, {"id": -1}), (404, {})])
def test_an_id_that_no_registry_gives(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    """Nothing is written with it."""
    schemas, _ = registry(monkeypatch, {"POST /subjects/t-geo.Point/versions": [answer]})
    with pytest.raises(RegistryUnavailableError, match="/subjects/t-geo"):
        schemas.id_of(POINT, "t")


@pytest.mark.parametrize(
    "sent",
    [
        b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"sch',
        b"HTTP/1.1 200 OK\r\n\r\n<html>",
        b"\x16\x03\x01garbage\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 500\r\n\r\nno",
        b"",
    ],
)
def test_bytes_that_are_cut_or_no_http(sent: bytes) -> None:
    """Whatever comes over the wire: the registry can't be used now."""
    with answering(sent) as url, pytest.raises(RegistryUnavailableError):
        RegistrySchemas(url, sleep=lambda _: None).schema_of(7)


@pytest.mark.parametrize("code", [404, 40403])
def test_a_guid_is_shown_as_one(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Whoever looks for a schema by its GUID finds it as written; a registry without GUIDs has none."""
    schemas, _ = registry(monkeypatch, {f"GET /schemas/guids/{GUID}": [(404, {"error_code": code})]})
    with pytest.raises(UnknownSchemaError, match=f"GUID {GUID}"):
        schemas.schema_of(GUID)


@pytest.mark.parametrize(
    "url", ["user:s3cret@registry:8081", "https//user:s3cret@registry", "http://user:s3cret@[x"]
)
def test_a_malformed_url_does_not_tell_its_password(url: str) -> None:
    """Errors end in logs."""
    with pytest.raises(ConfigError) as raised:
        RegistrySchemas(url)
    assert "s3cret" not in str(raised.value)


def test_unknown_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """404 means unknown: waiting does not help, publishing does."""
    schemas, _ = registry(monkeypatch, {"GET /schemas/ids/7": [(404, {"error_code": 40403})]})
    with pytest.raises(UnknownSchemaError, match="7"):
        schemas.schema_of(7)


@pytest.mark.parametrize("status", [409, 422])
def test_refused(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """An incompatible or invalid schema is refused with the registry's reason."""
    answers: dict[str, list[Any]] = {
        "POST /subjects/t-geo.Point/versions": [
            (status, {"message": "Schema being registered is incompatible"})
        ]
    }
    schemas, _ = registry(monkeypatch, answers)
    with pytest.raises(CodecError, match="incompatible"):
        schemas.id_of(POINT, "t")


@pytest.mark.parametrize("trouble", [(503, {}), (429, {}), ConnectionRefusedError(), TimeoutError()])
def test_a_passing_trouble(monkeypatch: pytest.MonkeyPatch, trouble: object) -> None:
    """A short outage is tried through."""
    answers = {"GET /schemas/ids/7": [trouble, trouble, (200, {"schema": json.dumps(POINT)})]}
    schemas, _ = registry(monkeypatch, answers)
    assert schemas.schema_of(7) == POINT


@pytest.mark.parametrize("trouble", [(500, {}), ConnectionRefusedError()])
def test_a_lasting_trouble(monkeypatch: pytest.MonkeyPatch, trouble: object) -> None:
    """A longer outage is told: the caller waits, and skips nothing."""
    schemas, recorded = registry(monkeypatch, {"GET /schemas/ids/7": [trouble]})
    with pytest.raises(RegistryUnavailableError):
        schemas.schema_of(7)
    assert len(recorded.requests) == 3


def test_basic_auth(monkeypatch: pytest.MonkeyPatch) -> None:
    """User and password of the URL are sent as basic auth, and never appear in the requested URL."""
    answers = {"GET /schemas/ids/7": [(200, {"schema": json.dumps(POINT)})]}
    schemas, recorded = registry(monkeypatch, answers, "http://us%40er:pass@registry:8081/")
    schemas.schema_of(7)
    (request,) = recorded.requests
    assert request.get_header("Authorization") == "Basic dXNAZXI6cGFzcw=="


@pytest.mark.parametrize("status", [401, 403])
def test_wrong_password(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """Who is refused waits until somebody sets other credentials, here or there; it is asked once a time."""
    schemas, recorded = registry(monkeypatch, {"GET /schemas/ids/7": [(status, {})]})
    with pytest.raises(RegistryUnavailableError, match=f"{status}: .*set a user and password"):
        schemas.schema_of(7)
    assert len(recorded.requests) == 1


def test_no_avro(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schema of another kind is refused."""
    answers = {"GET /schemas/ids/7": [(200, {"schema": "message M {}", "schemaType": "PROTOBUF"})]}
    schemas, _ = registry(monkeypatch, answers)
    with pytest.raises(CodecError, match="PROTOBUF"):
        schemas.schema_of(7)


@pytest.mark.parametrize(
    "url",
    [
        "registry:8081",
        "ftp://registry",
        "http://",
        "http://registry:99999",
        "http://registry:x",
        "http://registry:0",
        "http://regis try:8081",
        "http://registry:8081 ",
        "http://registry:8081/a\nb",
    ],
)
def test_malformed_url(url: str) -> None:
    """A URL that is none is refused at once."""
    with pytest.raises(ConfigError, match="URL"):
        RegistrySchemas(url)


@pytest.mark.parametrize(("url", "expected"), [(None, KafkaSchemas), (BASE, RegistrySchemas)])
def test_the_store_follows_the_setting(
    monkeypatch: pytest.MonkeyPatch, url: str | None, expected: type[SchemaStore]
) -> None:
    """With a registry's URL it gives the ids; without one Kafka itself does."""
    monkeypatch.delenv("KANTOR_SCHEMA_REGISTRY_URL", raising=False)
    if url:
        monkeypatch.setenv("KANTOR_SCHEMA_REGISTRY_URL", url)
    assert type(schema_store(KafkaSettings("nowhere:1"))) is expected


@pytest.mark.parametrize(
    "value",
    [b"\xff", b"{", b"[]", b'{"name": "\\ud800"}', b"[" * 100_000, b'{"a": ' * 5_000 + b"1" + b"}" * 5_000],
)
def test_a_foreign_record_among_the_schemas_stops_nobody(
    value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named, and what comes behind it is learnt."""
    broker, schema = MemoryBroker(), {"type": "record", "name": "a.B", "fields": []}
    id_ = KafkaSchemas(broker.clients()).id_of(schema, "t")
    producer = broker.clients().producer("somebody")
    producer.produce(SCHEMAS_TOPIC, value, b"17", None, 0)
    producer.flush()
    later = {"type": "record", "name": "a.C", "fields": []}
    found = KafkaSchemas(broker.clients()).id_of(later, "t")
    reader = KafkaSchemas(broker.clients())
    assert [reader.schema_of(one) for one in (id_, found)] == [schema, later]
    assert "unusable schema" in caplog.text
