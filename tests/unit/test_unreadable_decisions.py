"""A decision that can't be read is not decided again (log-3, A7): whoever takes the shard waits for what it needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from kantor.codec import Codec, MemorySchemas
from kantor.errors import UnknownSchemaError
from kantor_orchestrator.engine.checkpoint import Checkpointer
from kantor_orchestrator.formats import snapshots, topics
from kantor_orchestrator.formats.history import is_epoch
from kantor_schemas import Schema, system
from unit.engine_place import CATALOG, Place, refused, start_anew


class Forgetful(MemorySchemas):
    """A registry that does not know some ids for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = set[int | UUID]()

    def schema_of(self, id_: int | UUID) -> Schema:
        if id_ in self.hidden:
            raise UnknownSchemaError(id_, "the registry")
        return super().schema_of(id_)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """One whose engine has decided, sent, and crashed before a checkpoint."""
    place = Place(tmp_path)
    for schema in CATALOG.values():
        place.schemas.id_of(schema, "t")
    with monkeypatch.context() as patched:
        patched.setattr(Checkpointer, "commit", refused)
        for type_ in ("shop.OrderPlaced", "inventory.StockReserved", "payment.PaymentCaptured"):
            place.event("t", type_)
        place.turn_until(lambda: sent(place) == 1)
        place.engine.close()
    yield place
    place.engine.close()


def sent(place: Place) -> int:
    return len({entry.value() for entry in place.broker.topics["cmd.shipping.v1"].logs[0].entries})


def why(place: Place) -> str:
    """Why the shard is not taken."""
    for _ in range(100):
        place.engine.turn()
        if (taking := place.engine._taking.get(0)) is not None and taking.failed:
            return taking.failed
    return ""


def test_a_registry_that_has_lost_the_schema_of_decisions(place: Place, tmp_path: Path) -> None:
    """The shard is not taken, and the error names the record; when the schema is back nothing is decided again."""
    decided, forgetful = place.history(), Forgetful()
    decision = place.schemas.id_of(system("Decision"), topics.HISTORY)
    forgetful.__dict__.update(place.schemas.__dict__)
    forgetful.hidden = {decision}
    place.schemas = forgetful
    start_anew(place, tmp_path / "other")
    told = why(place)
    assert f"{topics.HISTORY}/0/1 may be a decision of epoch 0" in told
    assert "registry" in told
    forgetful.hidden = set()
    place.turn_until(lambda: bool(place.engine._shards))
    place.turn_until(lambda: not place.engine._shards[0].recorded)
    assert (place.history(), sent(place)) == (decided, 1)


def test_a_move_that_older_code_does_not_know(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shard is not taken by it; by what wrote it, it is."""
    decided = place.history()
    with monkeypatch.context() as patched:
        patched.setattr(snapshots, "_transitions_from", unknown_kind)
        start_anew(place, tmp_path / "other")
        assert "run the version of Kantor that wrote it" in why(place)
    place.turn_until(lambda: bool(place.engine._shards))
    place.turn_until(lambda: not place.engine._shards[0].recorded)
    assert (place.history(), sent(place)) == (decided, 1)


def unknown_kind(_text: str) -> None:
    raise ValueError("Invalid enum value 'teleported'")


def test_a_foreign_record_of_an_unknown_schema_is_passed_over(place: Place, tmp_path: Path) -> None:
    """It does not begin as the epoch says that decisions do: it keeps nobody from the shard."""
    other = place.broker.clients().producer("other")
    other.produce(topics.HISTORY, b"\0\0\0\x7f\x01garbage", b"t", None, 0)
    other.flush()
    start_anew(place, tmp_path / "other")
    place.turn_until(lambda: bool(place.engine._shards))


def test_an_epoch_says_with_what_its_decisions_begin(place: Place) -> None:
    """Each decision under it does, so that one that can't be read is told from a foreign record."""
    found = place.broker.topics[topics.HISTORY].logs[0].read(0, 100, 1e12, committed=True)[0]
    prefix = Codec(place.schemas).prefix(system("Decision"), topics.HISTORY)
    epochs = [dict(record.headers() or ())["kantor_decisions"] for record in found if is_epoch(record)]
    decisions = {(record.value() or b"")[:5] for record in found if not is_epoch(record)}
    assert (set(epochs), decisions) == ({prefix}, {prefix})
