"""The REST API over a real view: searching, one transaction, operator actions, bulk, problems."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api_kit import StoredBackend, checkouts, definitions, move
from kantor.errors import KantorError
from kantor_orchestrator.api.app import create_app
from kantor_orchestrator.api.config import ApiSettings
from kantor_orchestrator.api.payloads import Payload
from view_places import Places

API = "/api/v1"


@pytest.fixture
def backend(tmp_path: Path, places: Places) -> Iterator[StoredBackend]:
    checkouts(places("api"), extra=5)
    with closing(StoredBackend(tmp_path, definitions(), places("api"))) as made:
        yield made


@pytest.fixture
def api(backend: StoredBackend) -> Iterator[TestClient]:
    with TestClient(create_app(backend, ApiSettings()), base_url="http://localhost") as client:
        yield client


def ids(api: TestClient, query: str) -> list[str]:
    answer = api.get(f"{API}/transactions?{query}")
    assert answer.status_code == 200, answer.text
    return [one["transaction_id"] for one in answer.json()["transactions"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=order_id=1042", ["tx-compensated"]),
        ("q=tx-stuck", ["tx-stuck"]),
        ("status=completed&status=compensated", ["tx-compensated", "tx-completed"]),
        ("status=&step=shipping", ["tx-stuck", "tx-compensated"]),
        ("service=payment", ["tx-stuck"]),
        ("error=no+truck", ["tx-compensated"]),
        ("saga=checkout&status=completed", ["tx-completed"]),
        ("saga=none", []),
        ("stuck_for=10m&step=shipping", ["tx-stuck"]),
        ("open=true&step=shipping", ["tx-stuck"]),
        ("started_after=2100-01-01T00:00:00Z", []),
    ],
)
def test_transactions_are_searched(api: TestClient, query: str, found: list[str]) -> None:
    """By everything that the issue of a transaction may be."""
    assert ids(api, query) == found


def test_pages_follow_their_tokens(api: TestClient) -> None:
    """Until the last one names none."""
    found: list[str] = []
    token: str | None = ""
    while token is not None:
        page = api.get(f"{API}/transactions?limit=3&page_token={token}").json()
        found += [one["transaction_id"] for one in page["transactions"]]
        token = page["next_page"]
    assert len(found) == len(set(found)) == 10


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("page_token=abc", 400, "begin without one"),
        ("stuck_for=long", 422, "stuck_for"),
        ("limit=0", 422, "limit"),
        ("staus=running", 422, "staus"),
        ("status=done", 422, "status"),
        ("q=" + "x" * 301, 422, "q"),
        ("q=" + "x" * 9_000, 414, "8,192"),
    ],
)
def test_a_wrong_query_is_told_as_a_problem(api: TestClient, query: str, status: int, said: str) -> None:
    """With the name of what is wrong."""
    answer = api.get(f"{API}/transactions?{query}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]
    assert answer.json()["status"] == status


def test_a_transaction_has_the_shape_of_the_command_line(api: TestClient) -> None:
    """`kantor trace --json` and the API tell the same."""
    found = api.get(f"{API}/transactions/tx-compensated").json()
    assert (found["status"], found["saga"], found["version"]) == ("compensated", "checkout", 1)
    assert {"name": "order_id", "value": "1042"} in found["keys"]
    assert [step["status"] for step in found["steps"]] == ["compensated", "compensated", "failed"]
    assert (found["parent"], found["children"]) == (None, [])


def test_who_waits_for_an_end_gets_it_at_once_if_it_is_there(api: TestClient) -> None:
    """And as it is when the time is up, if not; what does not exist is not found."""
    assert api.get(f"{API}/transactions/tx-completed?wait=60s").json()["status"] == "completed"
    assert api.get(f"{API}/transactions/tx-running?wait=300ms").json()["status"] == "running"
    assert api.get(f"{API}/transactions/nobody?wait=100ms").status_code == 404
    assert api.get(f"{API}/transactions/nobody?wait=soon").status_code == 422


def test_who_waits_for_an_end_is_told_when_it_comes(api: TestClient, places: Places) -> None:
    """While it is projected by somebody else."""
    import threading

    from view_traffic import Traffic, project

    traffic = Traffic(
        ends={(f"evt.{s}.{s}.v1", 0): 1_000 for s in ("shop", "inventory", "payment", "shipping")}
    )
    traffic._ends |= {
        (topic, n): 10_000 for topic in ("sys.kantor.journal", "sys.kantor.history") for n in range(4)
    }
    traffic._ends |= {("cmd.shipping.v1", 0): 1_000}
    traffic.completed("tx-late", 9)
    ending = threading.Timer(0.5, project, (traffic, places("api")))
    ending.start()
    answer = api.get(f"{API}/transactions/tx-late?wait=30s")
    ending.join()
    assert (answer.status_code, answer.json().get("status")) == (200, "completed")


def test_changes_come_as_server_sent_events(api: TestClient) -> None:
    """The first one says how it is now."""
    with api.stream("GET", f"{API}/transactions/tx-running/events?seconds=0.5") as answer:
        text = "".join(answer.iter_text())
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert text.count("event: changed") == 1
    assert '"status":"running"' in text
    assert api.get(f"{API}/transactions/nobody/events?seconds=0.1").status_code == 404


def test_an_act_is_done_by_whoever_asks_and_answers_with_the_moves(
    api: TestClient, backend: StoredBackend
) -> None:
    """The idempotency key is the operator action's id."""
    answer = api.post(
        f"{API}/transactions/tx-stuck/acts",
        json={"act": "retry", "why": "the carrier is back", "step": "shipping"},
        headers={"Idempotency-Key": "key-1"},
    )
    assert answer.status_code == 200
    assert answer.json()["id"] == "key-1"
    assert answer.json()["transitions"][0]["kind"] == "resumed"
    assert backend.acted == [("retry", "tx-stuck", "local", "the carrier is back", "key-1")]


def test_an_act_that_the_engine_refuses_is_a_problem(api: TestClient, backend: StoredBackend) -> None:
    """With the engine's own reason."""
    backend.answers["tx-completed"] = move("ignored", reason="it is completed already")
    answer = api.post(f"{API}/transactions/tx-completed/acts", json={"act": "close", "why": "enough"})
    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        "close was not possible: it is completed already",
    )


def test_an_act_that_was_done_before_is_done(api: TestClient, backend: StoredBackend) -> None:
    """The engine says so of one that comes again; nobody has to look twice."""
    backend.answers["tx-stuck"] = move("ignored", reason="it was done") | {"code": "done_already"}
    body = {"act": "retry", "why": "again"}
    answer = api.post(f"{API}/transactions/tx-stuck/acts", json=body, headers={"Idempotency-Key": "key-1"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"act": "retry"}, "why"),
        ({"act": "retry", "why": "  "}, "why"),
        ({"act": "explode", "why": "x"}, "act"),
        ({"act": "signal", "why": "by hand"}, "step"),
        ({"act": "retry", "why": "x", "fields": {"a": 1}}, "fields"),
        ({"act": "retry", "why": "x", "actor": "somebody else"}, "actor"),
    ],
)
def test_an_act_that_makes_no_sense_is_refused(
    api: TestClient, backend: StoredBackend, body: dict[str, object], said: str
) -> None:
    """Before it reaches the journal."""
    answer = api.post(f"{API}/transactions/tx-stuck/acts", json=body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert backend.acted == []


def test_an_act_on_a_transaction_that_is_not_there_is_not_found(
    api: TestClient, backend: StoredBackend
) -> None:
    """The engine says so."""
    backend.unknown = {"nobody"}
    answer = api.post(f"{API}/transactions/nobody/acts", json={"act": "retry", "why": "x"})
    assert answer.status_code == 404
    assert "there is no transaction nobody" in answer.json()["detail"]
    assert backend.acted == []


def test_a_transaction_may_be_newer_than_the_view(api: TestClient, backend: StoredBackend) -> None:
    """The engine is asked, which knows it already."""
    answer = api.post(f"{API}/transactions/just-begun/acts", json={"act": "cancel", "why": "typo"})
    assert answer.status_code == 200
    assert [one[:2] for one in backend.acted] == [("cancel", "just-begun")]


def test_many_are_counted_before_anything_is_done_to_them(api: TestClient, backend: StoredBackend) -> None:
    """The operator action brings the count's token, is done to exactly those, and once."""
    wanted = {"act": "cancel", "filter": {"status": ["running"], "step": "stock"}}
    count = api.post(f"{API}/bulk/count", json=wanted).json()
    assert (count["count"], count["more"], len(count["sample"])) == (6, False, 6)
    assert backend.acted == []
    backend.answers["tx-more-2"] = move("ignored", reason="too late")
    body = {"token": count["token"], "why": "the shop is closed"}
    result = api.post(f"{API}/bulk/acts", json=body).json()
    assert result["done"] == 5
    assert result["refused"] == [{"transaction_id": "tx-more-2", "reason": "too late"}]
    assert {(act, id_) for act, id_, *_ in backend.acted} == {
        ("cancel", "tx-running"),
        *(("cancel", f"tx-more-{n}") for n in range(5)),
    }
    assert api.post(f"{API}/bulk/acts", json=body).json() == result
    assert len(backend.acted) == 6


def test_nothing_is_done_to_everything(api: TestClient) -> None:
    """A bulk action without a filter is a mistake, one with an unknown token as well."""
    assert api.post(f"{API}/bulk/count", json={"act": "close", "filter": {}}).status_code == 422
    assert api.post(f"{API}/bulk/acts", json={"token": "nope", "why": "x"}).status_code == 409


def test_a_saga_is_held_if_it_is_deployed(api: TestClient, backend: StoredBackend) -> None:
    """A typing error holds nothing."""
    assert (
        api.post(f"{API}/sagas/acts", json={"act": "hold", "saga": "chekout", "why": "x"}).status_code == 404
    )
    assert (
        api.post(f"{API}/sagas/acts", json={"act": "hold", "saga": "checkout", "why": "x"}).status_code == 200
    )
    assert [(act, saga) for act, saga, *_ in backend.acted] == [("hold", "checkout")]


def test_a_message_is_read_where_it_lies(api: TestClient, backend: StoredBackend) -> None:
    """Decoded, in hex, with headers; raw as a file. What is not of this transaction is not found."""
    story = api.get(f"{API}/transactions/tx-completed").json()
    place = story["timeline"][0]["origin"]
    backend.stored[place] = Payload(
        place,
        1,
        b"k",
        [("ce_id", b"x"), ("bin", b"\xff"), ("none", None)],
        b"\0\1\2",
        {"a": 1},
        {"name": "A", "fields": []},
    )
    found = api.get(f"{API}/transactions/tx-completed/messages/{place}").json()
    assert (found["decoded"], found["hex"], found["schema"], found["size"]) == ({"a": 1}, "000102", "A", 3)
    assert found["headers"][1:] == [
        {"name": "bin", "value": None, "hex": "ff"},
        {"name": "none", "value": None, "hex": None},
    ]
    raw = api.get(f"{API}/transactions/tx-completed/messages/{place}/raw")
    assert (raw.content, raw.headers["content-type"]) == (b"\0\1\2", "application/octet-stream")
    assert "attachment" in raw.headers["content-disposition"]
    assert api.get(f"{API}/transactions/tx-running/messages/{place}").status_code == 404
    assert api.get(f"{API}/transactions/tx-completed/messages/sys.kantor.state/0/0").status_code == 404


def test_a_message_that_its_topic_dropped_is_read_from_the_journal(
    api: TestClient, backend: StoredBackend
) -> None:
    """If that has dropped it, too, it is gone (410)."""
    first = api.get(f"{API}/transactions/tx-completed").json()["timeline"][0]
    url = f"{API}/transactions/tx-completed/messages/{first['origin']}"
    assert api.get(url).status_code == 410
    backend.stored[first["journal"]] = Payload(first["journal"], 1, None, [], b"{}", {})
    assert api.get(url).json()["place"] == first["journal"]


def test_definitions_are_told_with_counts_and_diagrams(api: TestClient) -> None:
    """By saga and version."""
    (found,) = api.get(f"{API}/definitions").json()["definitions"]
    assert (found["saga"], found["transactions"]["running"]) == ("checkout", 6)
    url = f"{API}/definitions/checkout/{found['version']}"
    assert api.get(url).json()["open_steps"]["stock"] == 6
    assert api.get(f"{url}/diagram").headers["content-type"] == "image/svg+xml"
    assert api.get(f"{url}/diagram?format=mermaid").text.startswith("---")
    assert api.get(f"{API}/definitions/checkout/99").status_code == 404


def test_a_question_that_outlasts_the_backend_leaves_no_connection(backend: StoredBackend) -> None:
    """It keeps none once it is closed: a replica that ends while somebody asks holds nothing on the server."""
    with backend.view() as view:
        backend.close()
        assert view.find("tx-stuck") == ["tx-stuck"]
    with pytest.raises(KantorError):
        view.find("tx-stuck")


def test_without_a_view_the_answer_says_what_to_start(tmp_path: Path, places: Places) -> None:
    """503, not 500."""
    with (
        closing(StoredBackend(tmp_path, place=places("none"))) as backend,
        TestClient(create_app(backend, ApiSettings()), base_url="http://localhost") as api,
    ):
        answer = api.get(f"{API}/transactions")
        assert answer.status_code == 503
        assert "kantor run" in answer.json()["detail"]
        assert api.get(f"{API}/definitions").status_code == 503


def test_the_description_is_openapi_3_1(api: TestClient) -> None:
    """With problems, and without the pages."""
    found = api.get(f"{API}/openapi.json").json()
    assert found["openapi"] == "3.1.0"
    assert all(path.startswith(API) for path in found["paths"])
    assert len(found["paths"]) >= 14
    answers = found["paths"][f"{API}/transactions"]["get"]["responses"]
    assert answers["422"]["content"] == {
        "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
    }
