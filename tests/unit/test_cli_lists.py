"""Choosing transactions by options, the list of incidents, and watching."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kantor_orchestrator.cli import watching
from kantor_orchestrator.cli.main import main
from kantor_orchestrator.view.queries import Criteria, View
from view_traffic import T0, Traffic, project
from waiting import PATIENCE


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("KANTOR_VIEW_URL", "COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KANTOR_HOME", str(tmp_path))
    monkeypatch.setattr("kantor_orchestrator.cli.filters.now", lambda: T0 + 3_600_000)
    return tmp_path


@pytest.fixture
def traffic(home: Path) -> Traffic:
    """One completed, one compensated, one whose shipment is asked for."""
    traffic = Traffic()
    traffic.completed("tx-completed", 1041)
    traffic.compensated("tx-compensated", 1042)
    traffic.booking("tx-open", 1043)
    project(traffic, home / "view.db")
    return traffic


def given_up(traffic: Traffic, id_: str, home: Path) -> None:
    """Its refund is never confirmed: an incident."""
    cause = traffic.order(id_, 1044)
    cause = traffic.event(id_, "inventory.StockReserved", cause=cause)
    cause = traffic.event(id_, "payment.PaymentCaptured", {"payment_id": "p"}, cause=cause)
    traffic.event(
        id_, "shipping.ShipmentUnavailable", {"reason": "no truck"}, cause=traffic.command_id(id_, "shipping")
    )
    while traffic.step(id_, "payment").timer:
        traffic.timer(id_, traffic.step(id_, "payment").timer, "payment")
    project(traffic, home / "view.db")


def kantor(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environment)


def listed(*arguments: str) -> list[str]:
    result = kantor("list", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return [one["transaction_id"] for one in json.loads(result.stdout)["transactions"]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["tx-open", "tx-compensated", "tx-completed"]),
        (["order_id=1042"], ["tx-compensated"]),
        (["tx-comp"], ["tx-compensated", "tx-completed"]),
        (["--status", "running", "--status", "completed"], ["tx-open", "tx-completed"]),
        (["--open"], ["tx-open"]),
        (["--service", "shipping"], ["tx-open"]),
        (["--service", "payment"], []),
        (["--step", "shipping"], ["tx-open", "tx-compensated"]),
        (["--error", "no truck"], ["tx-compensated"]),
        (["--stuck", "30m"], ["tx-open"]),
        (["--stuck", "2h"], []),
        (["--since", "2h"], ["tx-open", "tx-compensated", "tx-completed"]),
        (["--since", "30m"], []),
        (["--until", "2026-01-01"], []),
        (["--since", "2026-01-01T00:00+01:00", "--saga", "checkout", "--open"], ["tx-open"]),
    ],
)
def test_transactions_are_chosen_by_options(
    traffic: Traffic, arguments: list[str], expected: list[str]
) -> None:
    """Each option narrows the list; all of them must be met."""
    assert listed(*arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--stuck", "soon"], "write a whole number and a unit"),
        (["--since", "yesterday"], "write 2026-01-31T12:00, or how long ago: 2h"),
        (["--since", "2026-02-29"], "write 2026-01-31T12:00, or how long ago: 2h"),
        (["--until", "0m"], "'0m' is out of range; write a duration from 1ms to 3650d"),
        (["--since", "10000000d"], "'10000000d' is out of range; write a duration from 1ms to 3650d"),
        (["--version", "1"], "name it with --saga"),
        (["--status", "open"], "'open' is not one of"),
    ],
)
def test_options_that_can_not_be_meant(home: Path, arguments: list[str], said: str) -> None:
    """Wrong usage says what to write; exit code 2, whether there is a view or not."""
    result = kantor("list", *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("\u2502", " ").split())


@pytest.mark.parametrize("width", [70, 140])
def test_incidents_say_what_and_what_to_do(traffic: Traffic, home: Path, width: int) -> None:
    """The transaction, the step, why, and the commands that help; as data with --json."""
    given_up(traffic, "tx-given-up", home)
    result = kantor("incidents", COLUMNS=str(width))
    assert result.exit_code == 0
    for part in (
        "tx-given-up",
        "compensation failed of payment",
        "checkout",
        "not confirmed after 12 attempts",
    ):
        assert part in " ".join(result.stdout.split())
    assert "kantor retry" in result.stderr
    found = json.loads(kantor("incidents", "--json").stdout)
    assert (found["open"], found["next_page"]) == (1, None)
    (one,) = found["incidents"]
    assert (one["transaction_id"], one["kind"], one["step"]) == (
        "tx-given-up",
        "compensation_failed",
        "payment",
    )


def test_incidents_come_in_pages(traffic: Traffic, home: Path) -> None:
    """The longest waiting first; a page says where the next begins."""
    for id_ in ("tx-1", "tx-2"):
        given_up(traffic, id_, home)
    first = json.loads(kantor("incidents", "--json", "--limit", "1").stdout)
    second = json.loads(kantor("incidents", "--json", "--limit", "1", "--page", first["next_page"]).stdout)
    assert [one["incidents"][0]["transaction_id"] for one in (first, second)] == ["tx-1", "tx-2"]
    assert second["next_page"] is None
    assert "2 incidents open" in kantor("incidents", "--limit", "1").stderr


def test_no_incidents(traffic: Traffic) -> None:
    """An empty list is good news, and says so."""
    result = kantor("incidents")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "No open incidents" in result.stderr


def test_watching_a_trace_ends_with_its_transaction(traffic: Traffic) -> None:
    """It is shown as it is, and there is nothing more to come."""
    result = kantor("trace", "tx-completed", "--watch", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["status"] == "completed"


def test_watching_shows_every_change(traffic: Traffic, home: Path) -> None:
    """The picture is drawn again when the view has changed, and not before."""
    shown: list[Any] = []
    stop, drawn = threading.Event(), threading.Semaphore(0)

    def show(view: View) -> bool:
        shown.append(view.trace("tx-open").status)
        drawn.release()
        return False

    thread = threading.Thread(target=watching.watch, args=(show, stop))
    thread.start()
    try:
        assert drawn.acquire(timeout=PATIENCE)
        traffic.event("tx-open", "shipping.ShipmentBooked", cause=traffic.command_id("tx-open", "shipping"))
        project(traffic, home / "view.db")
        while shown[-1] != "completed":
            assert drawn.acquire(timeout=PATIENCE)
    finally:
        stop.set()
        thread.join()
    assert shown[0] == "running"


@pytest.mark.parametrize("width", [80, 130])
def test_lists_show_what_people_call_a_transaction(traffic: Traffic, home: Path, width: int) -> None:
    """Its keys, in its saga's order, as `kantor trace` takes them."""
    given_up(traffic, "tx-stuck", home)
    for command in ("list", "incidents"):
        assert "order_id=1044" in kantor(command, COLUMNS=str(width)).stdout, command
    listed_ = json.loads(kantor("list", "--json", "order_id=1042").stdout)["transactions"]
    assert [one["keys"][0] for one in listed_] == [{"name": "order_id", "value": "1042"}]
    (incident,) = json.loads(kantor("incidents", "--json").stdout)["incidents"]
    assert incident["keys"][0] == {"name": "order_id", "value": "1044"}


@pytest.mark.parametrize(("width", "lines"), [(80, 3), (110, 2)])
def test_a_list_shows_the_beginning_of_a_long_reason(
    traffic: Traffic, home: Path, width: int, lines: int
) -> None:
    """A transaction takes a few lines, however long its reason is; `--json` and the trace have it whole."""
    reason = " ".join(f"because{number}" for number in range(100))
    cause = traffic.order("tx-long", 1045)
    traffic.event("tx-long", "inventory.StockRejected", {"reason": reason}, cause=cause)
    project(traffic, home / "view.db")
    shown = kantor("list", "order_id=1045", COLUMNS=str(width)).stdout.rstrip()
    told = [line for line in shown.splitlines() if "because" in line or "StockRejected" in line]
    assert 0 < len(told) <= lines
    assert "because0 because1" in shown
    assert told[-1].rstrip().endswith("…")
    assert all(len(line.rstrip()) <= width for line in shown.splitlines())
    (found,) = json.loads(kantor("list", "--json", "order_id=1045").stdout)["transactions"]
    assert reason in found["reason"]
    assert "because99" in kantor("trace", "tx-long").stdout


def test_keys_that_are_personal_data_are_not_in_lists(traffic: Traffic, home: Path) -> None:
    """Lists are for everybody who may look; which keys they hide is asked once for a saga and its version."""
    given_up(traffic, "tx-stuck", home)
    asked = []

    def hides(saga: str, version: int, names: Collection[str]) -> frozenset[str]:
        asked.append((saga, version, sorted(names)))
        return frozenset({"order_id"})

    with View(home / "view.db", hides) as view:
        found = view.search(Criteria()).transactions
        assert asked == [("checkout", 1, asked[0][2])]
        assert "order_id" in asked[0][2]
        assert {name for one in found for name, _ in one.keys} == set(asked[0][2]) - {"order_id"}
        assert all("order_id" not in dict(one.keys) for one in view.incidents())


@pytest.mark.parametrize("width", [80, 130])
def test_a_trace_says_what_a_person_may_type(traffic: Traffic, home: Path, width: int) -> None:
    """Beside the incident, with its step; what is over offers nothing."""
    given_up(traffic, "tx-stuck", home)
    shown = kantor("trace", "tx-stuck", COLUMNS=str(width)).stdout
    for command in (
        "retry tx-stuck --step payment --why ...",
        "skip tx-stuck --step payment --why EVIDENCE",
        "close tx-stuck",
    ):
        assert f"kantor {command}" in shown, command
    assert "given up" in shown
    assert "kantor retry" not in kantor("trace", "tx-completed").stdout


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (["retry", "tx-open"], "--why"),
        (["skip", "tx-open", "--step", "stock"], "--why"),
        (["close", "tx-open", "--why", "  "], "say why"),
        (["hold"], "--why"),
    ],
)
def test_an_act_needs_its_reason(home: Path, arguments: list[str], missing: str) -> None:
    """It is refused before anything is asked of Kafka."""
    result = kantor(*arguments)
    assert result.exit_code == 2, result.output
    assert missing in result.output
