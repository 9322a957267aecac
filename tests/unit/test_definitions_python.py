"""Sagas written in Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from kantor.errors import DefinitionError
from kantor_orchestrator import Saga, Steps
from kantor_orchestrator.definitions import files
from kantor_orchestrator.definitions.check import check
from unit.definitions_kit import SCHEMAS, order, problems, read

CHECKOUT = Path(__file__).parents[2] / "services" / "kantor_examples" / "checkout" / "checkout.yaml"


def checkout() -> Saga:
    return (
        Saga(
            "checkout",
            version=1,
            starts_on="shop.OrderPlaced",
            deadline="15m",
            keys=["order_id", "customer_id"],
        )
        .step(
            "stock",
            succeeds_on="inventory.StockReserved",
            fails_on="inventory.StockRejected",
            timeout="30s",
            compensate_with="inventory.ReleaseStock",
            compensated_on="inventory.StockReleased",
        )
        .step(
            "payment",
            after="stock",
            succeeds_on="payment.PaymentCaptured",
            fails_on="payment.PaymentDeclined",
            timeout="30s",
            compensate_with={
                "command": "payment.RefundPayment",
                "fields": {"amount_cents": "start.amount_cents"},
            },
            compensated_on="payment.PaymentRefunded",
        )
        .step(
            "shipping",
            after="payment",
            command="shipping.BookShipment",
            succeeds_on="shipping.ShipmentBooked",
            fails_on="shipping.ShipmentUnavailable",
            timeout="10s",
            retry={"attempts": 5, "backoff": "200ms", "factor": 2, "max_backoff": "10s"},
            compensate_with="shipping.CancelShipment",
            compensated_on="shipping.ShipmentCancelled",
        )
    )


def test_python_equals_yaml() -> None:
    """The same saga in Python and in YAML is the same model."""
    assert checkout().model == Saga.load(CHECKOUT).model


def test_model_raises_with_every_problem() -> None:
    """What is not in the grammar is told when the model is asked for, with the place of the call."""
    saga = Saga("order", version=0, starts_on="shop.Ordered").step("stock", timeout="30")
    with pytest.raises(DefinitionError) as raised:
        _ = saga.model
    assert [problem.partition(": ")[2] for problem in raised.value.problems] == [
        "steps.stock.timeout: '30' is not a duration; write a whole number and a unit: 200ms, 30s, 15m, 2h or 21d",
        "version: 0 is too small; write at least 1",
    ]


def test_step_written_twice() -> None:
    """Two steps of one name are refused at the second."""
    saga = Saga("order", version=1, starts_on="shop.Ordered").step("stock")
    with pytest.raises(DefinitionError, match="step stock is written twice"):
        saga.step("stock")


def test_check_names_the_line(tmp_path: Path) -> None:
    """What is wrong with a saga in a Python file is told with the file and line of its step."""
    path = tmp_path / "order.py"
    path.write_text(
        "from kantor_orchestrator import Saga\n"
        'order = Saga("order", version=1, starts_on="shop.Ordered", deadline="1m")\n'
        'order.step("stock", succeeds_on="stock.Reservd")\n'
    )
    reading = files.read([path])
    assert [str(problem) for problem in check(reading.written, SCHEMAS)] == [
        f"{path}:3: no schema for stock.Reservd; did you mean stock.Reserved?"
    ]


def test_python_file_holds_module_level_sagas(tmp_path: Path) -> None:
    """Every saga that a module keeps in a name is read, once."""
    path = tmp_path / "order.py"
    path.write_text(
        "from kantor_orchestrator import Saga\n"
        'a = Saga("a", version=1, starts_on="shop.Ordered").step("x", succeeds_on="x.Done")\n'
        'b = also_b = Saga("b", version=1, starts_on="shop.Ordered").step("x", succeeds_on="x.Done")\n'
    )
    assert [one.model.saga for one in files.read([path]).models()] == ["a", "b"]


def test_python_file_without_saga(tmp_path: Path) -> None:
    """A module without a saga is a problem."""
    path = tmp_path / "empty.py"
    path.write_text("x = 1\n")
    assert [str(problem) for problem in files.read([path]).problems] == [
        f"{path}: holds no definition; assign Saga(...) to a name in the module"
    ]


def test_python_file_that_fails(tmp_path: Path) -> None:
    """A module that can't be run is told with the line that failed."""
    path = tmp_path / "broken.py"
    path.write_text("x = 1\nraise ValueError('no')\n")
    assert [str(problem) for problem in files.read([path]).problems] == [
        f"{path}:2: can't be run: ValueError: no; make it run with python first"
    ]


def test_other_files(tmp_path: Path) -> None:
    """Only YAML and Python hold definitions."""
    reading = files.read([tmp_path / "saga.toml"])
    assert [problem.remedy for problem in reading.problems] == ["name a .yaml, .yml or .py file"]


def test_load_several(tmp_path: Path) -> None:
    """Saga.load is for a file with one saga."""
    path = tmp_path / "two.yaml"
    path.write_text(f"{order()}\n---\n{order()}")
    with pytest.raises(DefinitionError, match=r"holds 2 sagas; use Saga\.load_all"):
        Saga.load(path)
    assert len(Saga.load_all(path)) == 2


def test_load_problems(tmp_path: Path) -> None:
    """Saga.load raises with every problem."""
    path = tmp_path / "bad.yaml"
    path.write_text(order(line_2="version: 0", line_4="deadline: 1"))
    with pytest.raises(DefinitionError) as raised:
        Saga.load(path)
    assert len(raised.value.problems) == 2


def test_retry_of_a_compensation_in_python() -> None:
    """Nested words are checked as in YAML."""
    assert problems(order(line_17="    compensate_with: {command: parcel.Cancel, retry: {tries: 3}}")) == [
        (
            "order.yaml:17:55: steps.parcel.compensate_with.retry: unknown word `tries`; "
            "known here: attempts, backoff, factor, max_backoff, jitter, budget, final"
        )
    ]
    assert read(order()).problems == []


def test_composites_in_python() -> None:
    """A composite's steps are steps of their own; the saga is the same as in YAML."""
    written = (
        Saga(
            "loan_origination",
            version=1,
            starts_on="loans.ApplicationSubmitted",
            deadline="30d",
            keys=["application_id"],
        )
        .step(
            "credit",
            each="['equifax','experian','transunion']",
            need=2,
            steps=Steps().step(
                "check",
                command="credit.RunCheck",
                fields={"bureau": "item"},
                succeeds_on="credit.CheckPassed",
                fails_on="credit.CheckFailed",
                timeout="60s",
            ),
        )
        .step(
            "underwriting",
            after="credit",
            task={
                "title": "Underwrite {start.application_id}",
                "for": ["role:underwriter"],
                "due": "2d",
                "outcomes": {"accept": "succeeds", "decline": "fails"},
            },
        )
        .step("signature", after="underwriting", signal="loans.ContractSigned", timeout="14d")
        .step(
            "disburse",
            after="signature",
            command="loans.Disburse",
            succeeds_on="loans.Disbursed",
            fails_on="loans.DisbursementRejected",
            timeout="1h",
            pivot=True,
            in_doubt={"ask": "loans.GetDisbursement"},
        )
    )
    assert written.model == Saga.load(CHECKOUT.parents[1] / "ten" / "loan_origination.yaml").model


def test_lines_within_composites(tmp_path: Path) -> None:
    """A problem with a step in a composite names the line of its own call."""
    path = tmp_path / "order.py"
    path.write_text(
        "from kantor_orchestrator import Saga, Steps\n"
        "inner = Steps()\n"
        'inner.step("a", succeeds_on="stock.Reservd")\n'
        'order = Saga("order", version=1, starts_on="shop.Ordered", deadline="1m", mode="observe")\n'
        'order.step("stock", steps=inner)\n'
    )
    assert [str(problem) for problem in check(files.read([path]).written, SCHEMAS)] == [
        f"{path}:3: no schema for stock.Reservd; did you mean stock.Reserved?"
    ]


def test_whole_saga_in_python() -> None:
    """What a saga says of itself can be said in Python."""
    saga = Saga(
        "s",
        version=1,
        starts_on="shop.Ordered",
        mode="enforce",
        enforce="5%",
        compensation="parallel",
        cancel_on={"event": "shop.Cancelled", "until": "a"},
        ends_with={"completed": "shop.Done"},
        returns={"ref": "a.ref"},
        commands={"a.Do": {"topic": "a.in", "format": "json"}},
    ).step("a", command="a.Do", succeeds_on="a.Done")
    model = saga.model
    assert (model.enforce, model.compensation) == (0.05, "parallel")
    assert (model.commands["a.Do"].format, model.returns) == ("json", {"ref": "a.ref"})
