"""An operator action that comes again with its key is answered as the first time, not with a success that was none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from api_kit import StoredBackend, move
from kantor_orchestrator.api.backend import Backend, KeyUsedError
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.formats import journal
from kantor_orchestrator.operations.acts import Move, NoAnswerError, refusal
from view_traffic import Traffic, project


class Before:
    """The engine: it has had these operator actions before."""

    def do(self, *_arguments: object, **_options: object) -> list[Move]:
        return [move("ignored", reason="this retry was done before") | {"code": "done_already"}]

    def do_many(self, _act: str, ids: Mapping[str, str], **_options: object) -> dict[str, list[Move]]:
        return {id_: self.do() for id_ in ids}


class Behind(StoredBackend):
    """Its view shows what became of the first one when it is asked the third time."""

    def __init__(self, folder: Path, shown: Sequence[Move], *, other: bool = False) -> None:
        super().__init__(folder)
        self._acts = [Before()]  # type: ignore[list-item]
        self._shown, self._other, self._asked = list(shown), other, 0

    def _done(self, *_what: Any) -> list[Move]:
        self._asked += 1
        if self._asked < 3:
            return []
        if self._other:
            raise KeyUsedError("the key k belongs to another operator action: signal; use a new one")
        return self._shown

    def again(self) -> list[Move]:
        return Backend.act(self, "retry", "t", actor="ann", why="x", step="", fields={}, key="k")


def test_one_that_was_refused_is_refused_again(tmp_path: Path) -> None:
    """The engine only knows that it was there; whoever asks waits for the view, which knows the refusal."""
    refused = move("ignored", reason="it has no open incident")
    assert Behind(tmp_path, [refused]).again() == [refused]


def test_a_key_of_another_act_is_refused_though_the_view_is_behind(tmp_path: Path) -> None:
    """Nothing was done: the engine takes the second one for the first."""
    with pytest.raises(KeyUsedError, match="belongs to another operator action"):
        Behind(tmp_path, [], other=True).again()


def test_what_the_view_does_not_show_is_not_known(tmp_path: Path) -> None:
    """It may have been refused: no success is claimed."""
    backend = Behind(tmp_path, [])
    times = iter([0.0, 0.0, 1.0, 60.0])
    backend._clock = lambda: next(times)
    with pytest.raises(NoAnswerError, match="does not show its outcome yet"):
        backend.again()


def test_of_many_each_is_answered_as_the_first_time(tmp_path: Path) -> None:
    """A bulk action that comes again with its key claims no success for those that were refused."""
    refused = move("ignored", reason="it has no open incident")
    backend = Behind(tmp_path, [refused])
    assert Backend.act_on_many(backend, "retry", ["t"], actor="ann", why="x", key="k") == {"t": [refused]}


def test_of_many_those_are_refused_whose_key_belongs_to_another_act(tmp_path: Path) -> None:
    """Nothing was done to them, and it says so."""
    found = Backend.act_on_many(
        Behind(tmp_path, [], other=True), "cancel", ["t"], actor="ann", why="x", key="k"
    )
    assert "belongs to another operator action" in refusal(found["t"])


def test_of_many_those_are_unanswered_that_the_view_does_not_show(tmp_path: Path) -> None:
    """It is not known what became of them."""
    backend = Behind(tmp_path, [])
    times = iter([0.0, 60.0, 60.0])
    backend._clock = lambda: next(times)
    backend._asked = -10
    assert Backend.act_on_many(backend, "cancel", ["t"], actor="ann", why="x", key="k") == {}


def test_a_signal_with_other_fields_is_another_act(tmp_path: Path) -> None:
    """Who sends other fields with a key that was used is not told that they were heard."""
    place = tmp_path / "view.db"
    traffic = Traffic()
    traffic.order("tx", 1)
    traffic.act("tx", "retry")
    key = f"act-{traffic.now}"
    project(traffic, place)
    backend = StoredBackend(tmp_path)
    assert Backend._done(backend, "tx", key, "retry", "", {})
    with pytest.raises(KeyUsedError, match="with other fields"):
        Backend._done(backend, "tx", key, "retry", "", {"n": 1})


def test_one_that_came_before_there_was_a_transaction_is_not_the_first_one(tmp_path: Path) -> None:
    """It led to nothing, as whoever sent it was told. The next one with its key did something, and it is what the third one is told of."""
    place = tmp_path / "view.db"
    traffic = Traffic()
    for number in range(2):
        said = {"act": "retry", "id": "k", "actor": "ann", "step": "", "why": "because", "fields": {}}
        offset = traffic._journal("tx", json.dumps(said).encode(), list(journal.ACT_HEADERS))
        if number:
            entry = Entry("act", traffic.now, "retry", "k", payload={"why": "because"}, actor="ann")
            traffic._decide("tx", offset, entry)
        else:
            traffic.order("tx", 1)
    project(traffic, place)
    (told,) = Backend._done(StoredBackend(tmp_path), "tx", "k", "retry", "", {})
    assert "it has no open incident" in told["reason"]
