"""Ten real transactions: they load, pass, compile, and say the same in every form."""

from __future__ import annotations

from pathlib import Path

import pytest

import kantor_schemas
from kantor.codec import Codec, MemorySchemas
from kantor_orchestrator import Saga
from kantor_orchestrator.core.saga import ROOT, FieldRule
from kantor_orchestrator.core.saga import Saga as CompiledSaga
from kantor_orchestrator.definitions import bundle as bundles
from kantor_orchestrator.definitions import files, yaml_source
from kantor_orchestrator.definitions.check import check
from kantor_orchestrator.definitions.children import children_of
from kantor_orchestrator.definitions.compile import compile_saga
from kantor_orchestrator.definitions.reading import Reading, Written
from kantor_schemas import Schema

TEN = Path(__file__).parents[2] / "services" / "kantor_examples" / "ten"
NAMES = sorted(path.stem for path in TEN.glob("*.yaml"))
#: What must be deployed together.
TOGETHER = {"insurance_claim": ["payout"]}


def read(name: str) -> tuple[list[Written], dict[str, Schema]]:
    """A saga with those that it starts, and the schemas of all."""
    names = [name, *TOGETHER.get(name, [])]
    schemas = {t: s for one in names for t, s in kantor_schemas.example(f"ten/{one}").items()}
    return files.read([TEN / f"{one}.yaml" for one in names]).models(), schemas


def compiled(name: str) -> CompiledSaga:
    written, schemas = read(name)
    children = children_of([one.model for one in written], schemas)
    return compile_saga(written[0].model, schemas, 1_000, children)


def test_there_are_ten_and_a_child() -> None:
    """None of the examples was forgotten."""
    assert len(NAMES) == 11


@pytest.mark.parametrize("name", NAMES)
def test_passes(name: str) -> None:
    """Lint has no objection."""
    written, schemas = read(name)
    assert [str(problem) for problem in check(written, schemas)] == []


@pytest.mark.parametrize("name", NAMES)
def test_order_of_steps(name: str) -> None:
    """Composites come before what they hold, steps after those that they wait for."""
    saga = compiled(name)
    seen = [ROOT]
    for step in saga.steps.values():
        assert {step.parent, *step.after} <= set(seen)
        assert set(step.steps) == {path for path, other in saga.steps.items() if other.parent == step.path}
        seen.append(step.path)


@pytest.mark.parametrize("name", NAMES)
def test_record(name: str) -> None:
    """What was deployed compiles from its record alone, as from the files."""
    written, schemas = read(name)
    children = children_of([one.model for one in written], schemas)
    codec, wanted = Codec(MemorySchemas()), bundles.bundle(written[0].model, schemas, 1_000, children)
    found = bundles.decode(bundles.encode(wanted, codec), codec)
    assert found.says_the_same(wanted)
    assert bundles.compile_definition(found) == compiled(name)


@pytest.mark.parametrize("name", NAMES)
def test_loaded_in_python(name: str) -> None:
    """A file that Python loads is the same saga."""
    assert Saga.load(TEN / f"{name}.yaml").model == read(name)[0][0].model


def test_composite() -> None:
    """A composite has its members' words; its steps have their parent."""
    parcels = compiled("laptop_checkout").steps["parcels"]
    assert (parcels.kind, parcels.steps) == ("composite", ("parcels.book", "parcels.dispatched"))
    assert (parcels.need, parcels.settle_all, parcels.in_order) == (1, True, False)
    assert parcels.each is not None
    assert parcels.each({"start": {"lines": [1, 2]}}) == [1, 2]


def test_fields_of_an_item() -> None:
    """A field may come from the item, said or by name; an order number from around."""
    book = compiled("laptop_checkout").steps["parcels.book"].command
    assert book is not None
    rules = {rule.name: rule for rule in book.fields}
    sources = (("payment", "order_id"), ("stock", "order_id"), ("start", "order_id"))
    assert rules["order_id"] == FieldRule("order_id", sources)
    scope = {"start": {}, "item": {"line_id": "l-1", "sku": "x", "qty": 2}}
    assert [rules[name].expression(scope) for name in ("line_id", "sku", "qty")] == ["l-1", "x", 2]  # type: ignore[misc]


def test_match() -> None:
    """The dispatched parcel is told from the others by its line."""
    match = compiled("laptop_checkout").steps["parcels.dispatched"].match
    assert match is not None
    scope = {"start": {}, "item": {"line_id": "l-1"}}
    assert [match({**scope, "event": {"line_id": line}}) for line in ("l-1", "l-2")] == [True, False]


def test_lists_of_members() -> None:
    """Guards and fields read the members that failed."""
    refund = compiled("laptop_checkout").steps["partial_refund"]
    failed = [{"item": {"amount_cents": 5}, "index": 0}, {"item": {"amount_cents": 7}, "index": 2}]
    scope = {"start": {}, "parcels": {"succeeded": [], "failed": failed, "status": "succeeded"}}
    assert refund.when is not None
    assert refund.when(scope) is True
    assert refund.command is not None
    amount = next(rule for rule in refund.command.fields if rule.name == "amount_cents")
    assert amount.expression is not None
    assert amount.expression(scope) == 12


def test_captures() -> None:
    """Captured is what commands, expressions and keys need, and nothing else."""
    captures = compiled("laptop_checkout").captures
    assert captures["shop.OrderPlaced"] == {"order_id", "customer_id", "amount_cents", "lines"}
    assert captures["shipping.ParcelDispatched"] == {"line_id"}
    assert captures["shipping.ShipmentBooked"] == {"order_id", "line_id"}


@pytest.mark.parametrize(
    ("status", "extended", "suspended"),
    [
        ("succeeded", True, False),
        ("failed", False, True),
        ("compensated", False, True),
        ("skipped", False, False),
    ],
)
def test_bare_outcome_of_a_composite(status: str, extended: bool, suspended: bool) -> None:
    """`when: collect.succeeded` asks how the composite ended, not for the list."""
    saga = compiled("subscription_renewal")
    scope = {"start": {}, "collect": {"succeeded": [], "failed": [{}], "status": status}}
    guards = [saga.steps[name].when for name in ("extend", "suspend")]
    assert [guard and guard(scope) for guard in guards] == [extended, suspended]


def test_sleep_of_an_item() -> None:
    """A sleep may last as long as the item says, none at all included."""
    sleep = compiled("subscription_renewal").steps["collect.wait.timer"].sleep
    assert sleep is not None
    assert [sleep({"item": text}) for text in ("0d", "3d")] == [0, 259_200_000]


def test_task() -> None:
    """A task is a request to Kantor's own service, with what is to be filled in filled in."""
    manager = compiled("expense_report").steps["approvals.manager"]
    assert (manager.kind, manager.succeeds_on, manager.fails_on) == (
        "task",
        "kantor.TaskSucceeded",
        ("kantor.TaskFailed",),
    )
    assert manager.command is not None
    assert (manager.command.type, manager.command.topic) == ("kantor.RequestTask", "cmd.kantor.task.v1")
    scope = {"start": {"report_id": "r-1", "employee_id": "e-1"}}
    rules = {
        r.name: r.literal if r.expression is None else r.expression(scope) for r in manager.command.fields
    }
    assert rules == {
        "title": "Expense r-1",
        "candidates": ["manager_of:e-1"],
        "excluded": ["e-1"],
        "due": 432_000_000,
        "remind": [259_200_000],
        "escalate_after": None,
        "escalate_to": [],
        "outcomes": {"approved": "succeeds", "rejected": "fails"},
        "result": None,
    }


def test_result_of_a_task() -> None:
    """A task's result is the event that it succeeds on; what other tasks succeed on is heard, too."""
    saga = compiled("insurance_claim")
    assess = saga.steps["assess"]
    assert (assess.succeeds_on, assess.bare) == ("claims.Assessment", "kantor.TaskSucceeded")
    assert "kantor.TaskSucceeded" in saga.types
    assert not compiled("expense_report").steps["approvals.manager"].bare


def test_call() -> None:
    """A call is a request too; what the environment gives is left to whoever makes it, what is filled in is escaped."""
    directory = compiled("onboarding").steps["accounts.directory"]
    assert directory.compensation is not None
    assert directory.compensation.confirmed_on == "kantor.CallSucceeded"
    scope = {"start": {"employee_email": "ann@x.org"}}
    rules = {
        r.name: r.literal if r.expression is None else r.expression(scope)
        for r in directory.compensation.command.fields
    }
    assert rules["url"] == "{env.DIRECTORY}/users/ann%40x.org"
    assert rules["gone_is_success"] is True
    assert directory.command is not None
    body = next(rule.expression for rule in directory.command.fields if rule.name == "body")
    assert body is not None
    assert body(scope) == '{"mail":"ann@x.org"}'


def test_child() -> None:
    """A child is started by its own start event; what it returns can be read as a step's fields."""
    saga = compiled("insurance_claim")
    payout = saga.steps["payout"]
    assert (payout.kind, payout.child, payout.succeeds_on) == ("saga", "payout", "kantor.TransactionEnded")
    assert payout.command is not None
    assert (payout.command.type, payout.command.topic) == ("payouts.PayClaim", "cmd.kantor.v1")
    assert saga.captures["kantor.TransactionEnded"] == {"status", "reason", "reference"}
    assert compiled("payout").returns == (FieldRule("reference", (("transfer", "reference"),)),)


def test_keys_of_records() -> None:
    """A command and its compensation have the key that the step names."""
    reserve = compiled("money_transfer").steps["reserve"]
    assert reserve.command is not None
    assert reserve.compensation is not None
    for command in (reserve.command, reserve.compensation.command):
        assert command.key is not None
        assert command.key({"start": {"from_account": "a-1"}}) == "a-1"


@pytest.mark.parametrize(
    ("name", "step", "doubt"),
    [
        ("laptop_checkout", "parcels.dispatched", "wait"),
        ("video_encoding", "publish", "wait"),
        ("payout", "transfer", "ask"),
        ("laptop_checkout", "payment", "compensate"),
    ],
)
def test_doubt(name: str, step: str, doubt: str) -> None:
    """A pivot waits unless it says otherwise; anything else is compensated."""
    assert compiled(name).steps[step].in_doubt == doubt


def test_cancellation_and_ends() -> None:
    """What cancels, until when, and the messages of the ends are the definition's."""
    saga = compiled("cancellable_order")
    assert saga.cancel_on is not None
    assert (saga.cancel_on.event, saga.cancel_on.until) == ("shop.CancelRequested", "ship")
    assert saga.cancel_on.refuse_with is not None
    assert saga.cancel_on.refuse_with.fields[0].sources[-1] == ("start", "order_id")
    assert {status: command.type for status, command in saga.ends_with.items()} == {
        "completed": "shop.CompleteOrder",
        "compensated": "shop.CancelOrder",
    }


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        (
            "parcels.failed.map(p, p.item.line_id)",
            "parcels.failed.map(p, p.item.amount_cents)",
            "array of long",
        ),
        (
            "parcels.failed.map(p, p.item.line_id)",
            "parcels.succeeded.map(p, size(p.book.shipment_id))",
            "array of int",
        ),
        (
            "sum(parcels.failed.map(p, p.item.amount_cents))",
            "parcels.failed.map(p, p.item.amount_cents)",
            "array of long",
        ),
    ],
)
def test_lists_that_are_made_of_members_have_types(right: str, wrong: str, told: str) -> None:
    """What does not fit is told, with line and remedy."""
    text = (TEN / "laptop_checkout.yaml").read_text()
    reading = Reading()
    yaml_source.parse(text.replace(right, wrong), "laptop.yaml", reading)
    found = [str(p) for p in check(reading.models(), kantor_schemas.example("ten/laptop_checkout"))]
    line = text[: text.index(right)].count("\n") + 1
    assert [p.startswith(f"laptop.yaml:{line}:") for p in found] == [True], found
    assert f"{wrong} is {told}" in found[0]
