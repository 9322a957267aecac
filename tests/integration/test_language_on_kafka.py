"""The language on a real Kafka: a saga with a child, operator actions, and what goes between them by the journal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kantor_schemas
from integration.platform_kit import Platform
from integration.program import Program
from kantor import envelope
from kantor.clients import BEGINNING
from kantor.envelope import Envelope, header_map
from kantor.errors import NotFoundError
from kantor_orchestrator.core.transaction import Status
from kantor_orchestrator.definitions import deploy, files
from kantor_orchestrator.operations import acts
from kantor_orchestrator.operations.acts import Acts
from kantor_schemas import system, topic_of
from waiting import PATIENCE, patiently

TEN = Path(__file__).parents[2] / "services" / "kantor_examples" / "ten"


class Wire:
    """Every service at once: sees the commands, and says what a test lets it say."""

    def __init__(self, platform: Platform, engine: Program) -> None:
        self.platform, self.engine = platform, engine
        sagas = [unhurried(TEN / name, platform.folder) for name in ("insurance_claim.yaml", "payout.yaml")]
        self.schemas = {t: s for one in sagas for t, s in kantor_schemas.example(f"ten/{one.stem}").items()}
        models = files.read(sagas).models()
        patiently(lambda: deploy.deploy(models, self.schemas, platform.settings, platform.schemas))
        self.producer = platform.settings.producer("wire", linger_ms=0)
        self.reader = platform.settings.consumer("wire")
        counts = platform.admin.topics()
        mine = [t for t in counts if t.startswith("cmd.") and not t.startswith("cmd.chaos")]
        self.reader.assign({(t, p): BEGINNING for t in mine for p in range(counts[t])})
        self.commands: list[tuple[str, str, str, dict[str, Any]]] = []  # type, id, transaction, fields

    def close(self) -> None:
        self.reader.close()

    def say(self, type_: str, transaction: str, cause: str = "", **fields: Any) -> None:
        """An event of a service; fields that are not given are made up."""
        schema = self.schemas.get(type_) or system(type_.removeprefix("kantor."))
        value = {
            f["name"]: fields.get(f["name"], f.get("default", made_up(f["type"]))) for f in schema["fields"]
        }
        topic = topic_of(schema)
        attributes = Envelope(
            id=envelope.event_id(cause or transaction, type_, 0),
            source=type_.partition(".")[0],
            type=type_,
            correlation_id=transaction,
            causation_id=cause or None,
        )
        encoded = self.platform.codec.encoder(schema, topic)(value)
        self.producer.produce(topic, encoded, transaction.encode(), attributes.headers())
        patiently(self.producer.flush)

    def command(self, type_: str, transaction: str = "") -> tuple[str, str, dict[str, Any]]:
        """The latest command of this type (to this transaction): its id, its transaction, its fields."""
        found: list[tuple[str, str, dict[str, Any]]] = []

        def there() -> bool:
            for record in self.reader.poll(0.05).records:
                headers = {name: value.decode() for name, value in header_map(record.headers()).items()}
                fields = self.platform.codec.decode(record.value())
                self.commands.append(
                    (headers["ce_type"], headers["ce_id"], headers["ce_correlationid"], fields)
                )
            found[:] = [c[1:] for c in self.commands if c[0] == type_ and transaction in ("", c[2])]
            return bool(found)

        self.platform.until(there, f"a {type_}")
        return found[-1]

    def status(self, transaction: str) -> Status | None:
        self.platform.follower.poll(0.05)
        return self.platform.follower.status(transaction)

    def await_status(self, transaction: str, status: Status) -> None:
        self.platform.until(lambda: self.status(transaction) is status, f"{transaction} is {status}")

    def act(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``kantor`` as a person types it; there is no view here, so ids are given in full."""
        environment = os.environ | {
            "KANTOR_BOOTSTRAP_SERVERS": self.platform.settings.bootstrap_servers,
            "KANTOR_HOME": str(self.platform.folder / "nowhere"),
        }
        # With more patience than people have: an engine on a machine under load is not one that does not run.
        program = f"from kantor_orchestrator.operations import acts; acts.PATIENCE = {PATIENCE}; from kantor_orchestrator.cli.main import main; main()"
        command = [sys.executable, "-c", program, *words]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
        )


def unhurried(saga: Path, folder: Path) -> Path:
    """A copy in which no step times out: on a machine under load, ``kantor`` takes longer to start than a bank to answer."""
    text, count = re.subn(r"timeout: \d+s\b", "timeout: 2h", saga.read_text(encoding="utf-8"))
    assert count == (2 if saga.name == "payout.yaml" else 0), text
    copy = folder / saga.name
    copy.write_text(text, encoding="utf-8")
    return copy


def made_up(type_: Any) -> Any:
    name = type_["type"] if isinstance(type_, dict) else type_
    return {"string": "x", "long": 700, "int": 7, "array": [], "map": {}, "boolean": False}.get(str(name))


@pytest.fixture(scope="module")
def wire(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with Platform(kafka, tmp_path_factory.mktemp("language")) as platform:
        roles = [platform.role(name).start() for name in ("intake", "engine")]
        for role in roles:
            role.await_ready()
        wire = Wire(platform, roles[1])
        yield wire
        wire.close()


def claim(wire: Wire) -> tuple[str, str]:
    """A claim is filed and assessed, its payout has begun: both transactions' ids."""
    id_ = f"claim-{time.time_ns()}"
    wire.say("claims.ClaimFiled", id_, claim_id=id_)
    task, _, fields = wire.command("kantor.RequestTask", id_)
    assert fields["title"] == f"Assess claim {id_}"
    wire.say("claims.Assessment", id_, task, amount_cents=4_200)
    child = ""

    def begun() -> bool:
        nonlocal child
        wire.command("payouts.PayClaim")
        children = [
            t for type_, _, t, f in wire.commands if type_ == "payouts.PayClaim" and f["claim_id"] == id_
        ]
        child = children[0] if children else ""
        return bool(child)

    wire.platform.until(begun, "the payout of the claim")
    return id_, child


def test_a_child_runs_and_returns(wire: Wire) -> None:
    """The payout runs as a transaction of its own, on whatever shard; what it returns is in the claim's next command."""
    id_, child = claim(wire)
    wire.say("ledger.FundsReserved", child, wire.command("ledger.ReserveFunds", child)[0])
    wire.say("bank.TransferSent", child, wire.command("bank.SendTransfer", child)[0], reference="REF-1")
    close, _, fields = wire.command("claims.CloseClaim", id_)
    assert fields["reference"] == "REF-1"
    wire.say("claims.ClaimClosed", id_, close)
    wire.await_status(id_, Status.COMPLETED)
    wire.await_status(child, Status.COMPLETED)


def test_cancelling_a_parent_compensates_its_child(wire: Wire) -> None:
    """``kantor cancel`` on the claim: the payout releases what it had reserved, then the claim is compensated. What was told
    before the release was confirmed is what was released: there is no second release."""
    id_, child = claim(wire)
    reserve = wire.command("ledger.ReserveFunds", child)[0]
    done = wire.act("cancel", id_, "--why", "filed twice", "--actor", "ann")
    assert done.returncode == 0, done.stderr
    assert "compensation starts" in done.stderr
    release = wire.command("ledger.ReleaseFunds", child)[0]
    wire.say("ledger.FundsReserved", child, reserve)
    wire.say("ledger.FundsReleased", child, release)
    wire.await_status(child, Status.COMPENSATED)
    wire.await_status(id_, Status.COMPENSATED)
    reasons = {m["reason"] for m in wire.platform.follower.moves[id_]}
    assert "cancel by ann: filed twice" in reasons


def test_an_act_that_is_not_possible(wire: Wire) -> None:
    """It says why, with exit code 1, and changes nothing; what does not exist is said, too."""
    id_, _ = claim(wire)
    done = wire.act("skip", id_, "--step", "assess", "--why", "no")
    assert done.returncode == 1
    assert "assess is succeeded" in done.stderr
    assert wire.act("close", id_, "--why", "test").returncode == 0
    wire.await_status(id_, Status.CLOSED)


def test_an_act_is_done_once(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same operator action under the same id twice in the journal changes the transaction once."""
    monkeypatch.setattr(acts, "PATIENCE", PATIENCE)
    id_, _ = claim(wire)
    operator = Acts(wire.platform.settings)
    first, second = (operator.do("close", id_, actor="ann", why="enough", id_="the-same") for _ in range(2))
    assert "ended" in [move["kind"] for move in first]
    assert [(move["kind"], move["code"]) for move in second] == [("ignored", "done_already")]
    wire.await_status(id_, Status.CLOSED)


def test_an_act_on_a_transaction_that_is_not_there(wire: Wire) -> None:
    """The engine says at once that there is none: exit code 4, and nobody waits for an answer that never comes."""
    acts = Acts(wire.platform.settings)
    began = time.monotonic()
    with pytest.raises(NotFoundError, match="no transaction nobody"):
        acts.do("close", "nobody", actor="ann", why="enough")
    assert time.monotonic() - began < 5, "half of the time that an answer may take"
    done = wire.act("retry", "nobody", "--why", "no")
    assert done.returncode == 4
    assert "no transaction nobody" in done.stderr


def test_a_saga_that_a_person_holds(wire: Wire) -> None:
    """Held, and the engine killed meanwhile: what comes waits, in the transaction's state; released, it goes on."""
    id_, child = claim(wire)
    reserve = wire.command("ledger.ReserveFunds", child)[0]
    done = wire.act("hold", "--saga", "payout", "--why", "the bank is down", "--actor", "ann")
    assert done.returncode == 0, done.stderr
    assert "held by ann: the bank is down" in done.stderr
    wire.say("ledger.FundsReserved", child, reserve)
    moves = wire.platform.follower.moves[child]
    wire.platform.until(lambda: "held" in [m["kind"] for m in moves], "the payout stands still")
    refused = wire.act("cancel", child, "--why", "no more patience")
    assert refused.returncode == 1
    assert "release it first" in refused.stderr
    wire.engine.kill()
    wire.engine.start().await_ready()
    other, _ = claim(wire)  # another saga goes on; the payout that it starts waits before its first step
    assert wire.act("release", "--saga", "payout", "--why", "the bank is back").returncode == 0
    wire.say("bank.TransferSent", child, wire.command("bank.SendTransfer", child)[0], reference="R")
    wire.say("claims.ClaimClosed", id_, wire.command("claims.CloseClaim", id_)[0])
    wire.await_status(id_, Status.COMPLETED)
    assert [m["kind"] for m in moves].count("released") == 1
    wire.command("ledger.ReserveFunds", wire.command("payouts.PayClaim")[1])
    assert wire.act("close", other, "--why", "enough").returncode == 0


def test_a_hold_that_is_not_there(wire: Wire) -> None:
    """Releasing what nobody holds, and holding a saga that does not exist: exit codes 1 and 4, and it is said why."""
    done = wire.act("release", "--saga", "payout", "--why", "no")
    assert done.returncode == 1
    assert "payout is not held" in done.stderr
    done = wire.act("hold", "--saga", "payuot", "--why", "no")
    assert done.returncode == 4
    assert "insurance_claim, payout" in done.stderr
