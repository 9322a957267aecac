"""`kantor trace` and `kantor list` over a view that is there, empty or missing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kantor_orchestrator.cli.main import main
from kantor_orchestrator.core.saga import Command, Retry, Saga, Step
from view_places import execute
from view_traffic import Traffic, project


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("KANTOR_VIEW_URL", "COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KANTOR_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def view(home: Path) -> Path:
    """One completed, one compensated, one that compensates after retries, one observed."""
    traffic = Traffic()
    traffic.completed("tx-completed", 1041)
    traffic.compensated("tx-compensated", 1042)
    traffic.stuck("tx-waiting", 1042)
    traffic.event("tx-observed", "crm.LeadCreated")
    project(traffic, home / "view.db")
    return home


def kantor(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environment)


def test_a_trace_as_json_has_the_agreed_shape(view: Path) -> None:
    """Scripts and the API rely on these names, RFC 3339 times and topic/partition/offset."""
    found = json.loads(kantor("trace", "tx-compensated", "--json").stdout)
    assert {name: found[name] for name in ("transaction_id", "saga", "version", "status", "waiting_on")} == {
        "transaction_id": "tx-compensated",
        "saga": "checkout",
        "version": 1,
        "status": "compensated",
        "waiting_on": [],
    }
    assert {name: found["steps"][2][name] for name in ("name", "kind", "status", "attempts")} == {
        "name": "shipping",
        "kind": "command",
        "status": "failed",
        "attempts": 1,
    }
    assert found["steps"][0]["started_at"] == "2026-09-21T14:13:20.050Z"
    refund = found["timeline"][5]
    assert {name: refund[name] for name in ("at", "kind", "type", "origin", "causation_id")} == {
        "at": "2026-09-21T14:13:20.080Z",
        "kind": "compensation",
        "type": "payment.RefundPayment",
        "origin": "cmd.payment.v1/0/0",
        "causation_id": found["timeline"][4]["id"],
    }


def test_what_has_not_happened_is_null(view: Path) -> None:
    """A step that was not reached has no times."""
    found = json.loads(kantor("trace", "tx-waiting", "--json").stdout)
    assert (found["ended_at"], found["waiting_on"]) == (None, ["payment", "shipping"])
    assert found["steps"][0]["code"] is None


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("what", ["tx-completed", "tx-compensated", "tx-waiting", "tx-observed"])
def test_a_trace_fits_the_terminal(view: Path, what: str, width: int) -> None:
    """No line is longer than the terminal is wide, and every place is there in full."""
    result = kantor("trace", what, COLUMNS=str(width))
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= width


def test_a_trace_tells_the_story(view: Path) -> None:
    """Status, reason, steps, places, gaps, compensations."""
    story = kantor("trace", "tx-compensated", COLUMNS="120").stdout
    for part in (
        "checkout v1",
        "compensated",
        "shipping: shipping.ShipmentUnavailable (no truck)",
        "order_id",
        "+10 ms",
        "payment.RefundPayment",
        "reverses payment",
        "cmd.payment.v1/0/0",
        "payment compensated",
        "transaction compensated",
    ):
        assert part in story


def test_a_trace_tells_of_retries(view: Path) -> None:
    """Each attempt, why it failed and when the next one was due."""
    story = kantor("trace", "tx-waiting", COLUMNS="120").stdout
    for part in (
        "2 attempts",
        "attempt 2",
        "timed out (no answer in time), again in 200 ms",
        "must confirm by",
    ):
        assert part in story


@pytest.mark.parametrize("kind", ["command", "task", "call", "saga"])
def test_a_trace_tells_of_the_attempts_of_every_kind(home: Path, kind: str) -> None:
    """Whatever was asked for more than once."""
    asks = Command("x.Do", "cmd.x.v1")
    step = Step(
        path="do", kind=kind, command=asks, succeeds_on="x.Done", timeout=1_000, retry=Retry(attempts=2)
    )
    traffic = Traffic(Saga("s", 1, "x.Begun", {"do": step}))
    traffic.event("tx", "x.Begun")
    traffic.timer("tx", "timeout", "do")
    traffic.timer("tx", "retry", "do")
    project(traffic, home / "view.db")
    assert "2 attempts" in kantor("trace", "tx", COLUMNS="120").stdout


def test_a_decision_that_could_not_be_read_is_told(view: Path) -> None:
    """The story looks whole, and may be wrong: where, and the remedy; as data, too."""
    why = "sys.kantor.history/1/7: schema id 7 is unknown to the registry; register its schema in the registry again"
    execute(view / "view.db", f"UPDATE transactions SET unread = '{why}' WHERE id = 'tx-completed'")
    found = " ".join(re.sub("[│╭╮╰╯─]", " ", kantor("trace", "tx-completed").stdout).split())
    assert f"may be wrong a decision could not be read: {why}; then `kantor view rebuild`" in found
    assert json.loads(kantor("trace", "tx-completed", "--json").stdout)["unread"] == why
    assert "may be wrong" not in kantor("trace", "tx-compensated").stdout


def test_an_observed_transaction_says_so(view: Path) -> None:
    """No saga describes it; its timeline is there."""
    story = kantor("trace", "tx-observed").stdout
    assert "none describes it" in story
    assert "crm.LeadCreated" in story


def test_a_key_finds_its_transaction(view: Path) -> None:
    """kantor trace order_id=1041"""
    assert json.loads(kantor("trace", "order_id=1041", "--json").stdout)["transaction_id"] == "tx-completed"


def test_a_key_of_several_transactions_lists_them(view: Path) -> None:
    """Which one is meant is the person's choice."""
    result = kantor("trace", "order_id=1042")
    assert result.exit_code == 0
    assert "tx-compensated" in result.stdout
    assert "tx-waiting" in result.stdout
    assert "2 transactions match" in result.stderr
    found = json.loads(kantor("trace", "order_id=1042", "--json").stdout)
    assert [one["transaction_id"] for one in found["matches"]] == ["tx-waiting", "tx-compensated"]


def test_an_unknown_transaction_is_exit_code_4(view: Path) -> None:
    """One line on stderr, nothing on stdout."""
    result = kantor("trace", "nope")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "no transaction matches 'nope'" in result.stderr


@pytest.mark.parametrize("command", [["trace"], ["list"], ["list", "--saga"]])
def test_what_is_not_text_is_wrong_usage(view: Path, command: list[str]) -> None:
    """A byte that is not UTF-8 comes as half a surrogate pair, which no database and no record takes."""
    found = kantor(*command, "tx-\udcff")
    assert (found.exit_code, found.stderr) == (2, "Error: not text in UTF-8: 'tx-\\udcff'; give it as that\n")


def test_without_a_view_a_trace_is_not_found(home: Path) -> None:
    """The message says what to start."""
    result = kantor("trace", "tx-completed")
    assert result.exit_code == 4
    assert "kantor run" in result.stderr


def test_a_list_as_json_can_be_filtered(view: Path) -> None:
    """By status and saga."""
    found = json.loads(kantor("list", "--status", "completed", "--saga", "checkout", "--json").stdout)
    assert [(one["transaction_id"], one["status"]) for one in found["transactions"]] == [
        ("tx-completed", "completed")
    ]
    assert found["next_page"] is None


def test_a_list_of_a_version_can_be_asked_for(view: Path) -> None:
    """And nothing else is in it."""
    version = json.loads(kantor("list", "--saga", "checkout", "--json").stdout)["transactions"][0]["version"]
    asked = kantor("list", "--saga", "checkout", "--version", str(version), "--json").stdout
    assert {one["version"] for one in json.loads(asked)["transactions"]} == {version}
    assert (
        "No transactions match (4 in total)" in kantor("list", "--saga", "checkout", "--version", "99").stderr
    )


@pytest.mark.parametrize("width", [60, 120])
def test_a_list_fits_the_terminal(view: Path, width: int) -> None:
    """Every transaction is named, with what it waits for."""
    result = kantor("list", COLUMNS=str(width))
    assert max(map(len, result.stdout.splitlines())) <= width
    for part in ("tx-completed", "tx-compensated", "tx-waiting", "tx-observed", "payment, shipping"):
        assert part in result.stdout


def test_a_list_goes_on_where_it_ended(view: Path) -> None:
    """The hint names the next page."""
    token = json.loads(kantor("list", "--limit", "3", "--json").stdout)["next_page"]
    assert f"--page {token}" in kantor("list", "--limit", "3").stderr
    assert "tx-completed" in kantor("list", "--limit", "3", "--page", token).stdout


def test_a_page_of_another_list_is_wrong_usage(view: Path) -> None:
    """A token is opaque, and of one search only."""
    token = json.loads(kantor("list", "--limit", "3", "--json").stdout)["next_page"]
    result = kantor("list", "--status", "running", "--page", token)
    assert result.exit_code == 2
    assert "not from this search" in result.stderr


def test_without_a_view_a_list_says_what_to_start(home: Path) -> None:
    """Nothing is wrong with asking: no transactions, exit code 0."""
    result = kantor("list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "kantor run" in result.stderr
    assert json.loads(kantor("list", "--json").stdout) == {
        "transactions": [],
        "next_page": None,
        "partial": False,
        "complete_from": None,
    }


def test_an_empty_view_says_what_to_look_at(home: Path) -> None:
    """It runs, but nothing has come."""
    project(Traffic(), home / "view.db", batch=1)
    result = kantor("list")
    assert result.exit_code == 0
    assert "kantor status" in result.stderr


def test_a_filter_without_matches_says_so(view: Path) -> None:
    """Among how many nothing was found."""
    assert "No transactions match (4 in total)" in kantor("list", "--status", "parked", "--saga", "x").stderr


def test_no_color_is_heeded(view: Path) -> None:
    """A pipe has no colours; FORCE_COLOR asks for them, NO_COLOR forbids them."""
    assert "\x1b[" not in kantor("trace", "tx-completed").stdout
    assert "\x1b[32m" in kantor("trace", "tx-completed", FORCE_COLOR="1").stdout
    assert "\x1b[32m" not in kantor("trace", "tx-completed", FORCE_COLOR="1", NO_COLOR="1").stdout


def test_what_messages_say_is_text_and_nothing_else(home: Path) -> None:
    """Neither markup nor control characters from outside reach the terminal's interpretation."""
    traffic = Traffic()
    cause = traffic.order("tx")
    cause = traffic.event("tx", "inventory.StockReserved", cause=cause)
    traffic.event("tx", "payment.PaymentDeclined", {"reason": "[/red] :smile: \x1b[2J"}, cause=cause)
    project(traffic, home / "view.db")
    for arguments in (["trace", "tx"], ["list"]):
        result = kantor(*arguments, COLUMNS="200")
        assert result.exit_code == 0
        assert "[/red] :smile: \ufffd[2J" in result.stdout


def test_many_matches_are_cut(home: Path) -> None:
    """A key that hundreds share is no way to name one transaction."""
    traffic = Traffic()
    for number in range(60):
        traffic.order(f"tx-{number}", 7)
    project(traffic, home / "view.db")
    assert "more than 50 transactions match" in kantor("trace", "order_id=7").stderr


@pytest.mark.parametrize(
    "arguments",
    [["trace"], ["list", "--status", "open"], ["list", "--limit", "0"], ["list", "--version", "1"]],
)
def test_wrong_usage_is_exit_code_2(home: Path, arguments: list[str]) -> None:
    """As everywhere."""
    assert kantor(*arguments).exit_code == 2


def test_an_unsupported_view_url_is_exit_code_2(home: Path) -> None:
    """A wrong setting is named without a traceback."""
    result = kantor("list", KANTOR_VIEW_URL="mysql://x")
    assert result.exit_code == 2
    assert "KANTOR_VIEW_URL" in result.stderr
