"""What people do: to one transaction, to a saga, to many at once (counted first)."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core.core_schema import CoreSchema, literal_schema
from starlette.concurrency import run_in_threadpool

from kantor_orchestrator import voice
from kantor_orchestrator.api import shapes
from kantor_orchestrator.api.access import API, person_of
from kantor_orchestrator.api.backend import Backend, new_key
from kantor_orchestrator.api.filters import Filters, JsonFilters
from kantor_orchestrator.api.people import Person
from kantor_orchestrator.api.problems import ProblemError, documented
from kantor_orchestrator.api.transactions import TransactionId
from kantor_orchestrator.core.act_kinds import FIELDS, FOR_MANY, KINDS, NEEDED, ON_SAGAS, ActKind
from kantor_orchestrator.formats import holds
from kantor_orchestrator.operations.acts import Move, refusal
from kantor_orchestrator.view import as_json
from kantor_orchestrator.view.queries import Summary

T = TypeVar("T")


class _OneOf:
    """Of the names of these operator actions, for pydantic and OpenAPI: as ``Literal`` would have them."""

    def __init__(self, kinds: Iterable[ActKind]) -> None:
        self._names = [kind.name for kind in kinds]

    def __get_pydantic_core_schema__(self, _source: object, _handler: object) -> CoreSchema:
        return literal_schema(self._names)


ActName = Annotated[str, _OneOf(kind for kind in KINDS.values() if kind.is_for_programs)]
BulkName = Annotated[str, _OneOf(FOR_MANY.values())]
SagaAct = Annotated[str, _OneOf(ON_SAGAS.values())]
Why = Annotated[str, Field(min_length=1, max_length=2_000, pattern=r"\S")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[A-Za-z0-9._:-]{1,128}$",
        description="Becomes the operator action's id: a request repeated with the same key takes effect once.",
    ),
]

#: Transactions that one bulk action may change; those of them that are shown first.
MOST, SAMPLE = 1_000, 10
#: Seconds that a count is good for; counts that are kept.
GOOD_FOR, MOST_COUNTS = 600.0, 100
#: Seconds that counting may take.
_COUNTING = 5.0


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _by_act(schema: dict[str, Any]) -> None:
    """What :meth:`Doing.one` wants beside the shape, for programs: a signal is about a step, and has fields."""
    named = {"properties": {"step": {"minLength": 1}}, "required": ["step"]}
    bare = {"properties": {"fields": {"maxProperties": 0}}}
    schema["allOf"] = [
        {"if": _is_among(kind for kind in KINDS.values() if kind.step == NEEDED), "then": named},
        {"if": _is_among(kind for kind in KINDS.values() if kind.takes == FIELDS), "else": bare},
    ]


def _is_among(kinds: Iterable[ActKind]) -> dict[str, Any]:
    return {"properties": {"act": {"enum": [kind.name for kind in kinds]}}, "required": ["act"]}


class ActBody(Body):
    """``why``: the reason, or the evidence; kept in the history."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_by_act)

    act: ActName
    why: Why
    step: Annotated[str, Field(max_length=300)] = ""
    fields: Annotated[dict[str, JsonValue], Field(max_length=100)] = {}


class SagaActBody(Body):
    """``saga`` empty: all of them."""

    act: SagaAct
    why: Why
    saga: Annotated[str, Field(max_length=300)] = ""


class CountBody(Body):
    act: BulkName
    filter: JsonFilters


class BulkBody(Body):
    token: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    why: Why


@dataclass(slots=True)
class Count:
    """What a bulk action would be done to."""

    act: str
    ids: list[str]
    actor: str
    until: float  # seconds since the epoch
    lock: threading.Lock = field(default_factory=threading.Lock)
    id: str = ""  # of the operator action: the same for one that is sent again
    result: dict[str, Any] | None = None


class Counts:
    """Those that somebody was shown, by token: an operator action is done to exactly them. Of this process: a restart forgets them."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._known: dict[str, Count] = {}
        self._lock = threading.Lock()

    def keep(self, act: str, ids: list[str], actor: str) -> tuple[str, Count]:
        count = Count(act, ids, actor, self._clock() + GOOD_FOR)
        token = secrets.token_urlsafe(24)
        with self._lock:
            now = self._clock()
            self._known = {t: c for t, c in self._known.items() if c.until > now}
            while len(self._known) >= MOST_COUNTS:
                del self._known[next(iter(self._known))]
            self._known[token] = count
        return token, count

    def get(self, token: str, actor: str) -> Count:
        """Raises ``ProblemError``: count again."""
        with self._lock:
            found = self._known.get(token)
        if found is None or found.until < self._clock() or found.actor != actor:
            raise ProblemError(409, "this count has expired or belongs to somebody else: count again")
        return found


class Doing:
    """What routes and pages do, in one way."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.counts = Counts()

    def one(self, transaction_id: str, body: ActBody, person: Person, key: str | None) -> dict[str, Any]:
        kind = KINDS[body.act]
        if kind.step == NEEDED and not body.step:
            raise ProblemError(422, f"step: {body.act} needs a step: name one")
        if body.fields and kind.takes != FIELDS:
            raise ProblemError(422, f"fields: only a signal has fields, not {body.act}")
        id_ = key or new_key()
        moves = self._backend.act(
            body.act,
            transaction_id,
            actor=person.name,
            why=body.why.strip(),
            step=body.step,
            fields=body.fields,
            key=id_,
        )
        if reason := refusal(moves):
            raise ProblemError(409, f"{body.act} was not possible: {reason}")
        return _told(id_, body.act, moves, transaction_id=transaction_id)

    def saga(self, body: SagaActBody, person: Person, key: str | None) -> dict[str, Any]:
        if body.saga != holds.ALL:
            known = {bundle.model.saga for bundle in self._backend.definitions().bundles()}
            if body.saga not in known:
                raise ProblemError(404, f"no saga {body.saga} is deployed")
        id_ = key or new_key()
        moves = self._backend.act_on_saga(
            body.act, body.saga, actor=person.name, why=body.why.strip(), key=id_
        )
        if reason := refusal(moves):
            raise ProblemError(409, f"{body.act} was not possible: {reason}")
        return _told(id_, body.act, moves, saga=body.saga)

    def count(self, act: str, wanted: Filters, person: Person) -> tuple[dict[str, Any], list[Summary]]:
        """How many there are, the first few, and a token to act on exactly them."""
        criteria = wanted.criteria()
        if not criteria:
            raise ProblemError(
                422,
                "filter: at least one filter is required, so that nothing applies to every transaction by accident",
            )
        found: list[Summary] = []
        token, deadline = "", time.monotonic() + _COUNTING
        with self._backend.view() as view:
            while len(found) <= MOST:
                page = view.search(criteria, limit=MOST + 1 - len(found), page=token)
                found += page.transactions
                token = page.next_page
                if not token:
                    break
                if time.monotonic() > deadline:
                    raise ProblemError(422, "filter: counting takes too long; narrow the filter")
        more = len(found) > MOST
        kept = (
            self.counts.keep(act, [one.transaction_id for one in found], person.name)
            if found and not more
            else None
        )
        return {
            "act": act,
            "count": min(len(found), MOST),
            "more": more,
            "sample": [as_json.summary(one) for one in found[:SAMPLE]],
            "token": kept[0] if kept else None,
            "expires_at": as_json.time(int(kept[1].until * 1000)) if kept else None,
        }, found[:SAMPLE]

    def many(self, body: BulkBody, person: Person, key: str | None) -> dict[str, Any]:
        """Do it, once: a repeated request gets the first one's result."""
        count = self.counts.get(body.token, person.name)
        with count.lock:
            if count.result is None:
                count.id = count.id or key or new_key()
                moves = self._backend.act_on_many(
                    count.act, count.ids, actor=person.name, why=body.why.strip(), key=count.id
                )
                count.result = _summed(count, moves)
            return count.result


def _summed(count: Count, moves: Mapping[str, list[Move]]) -> dict[str, Any]:
    refused = [
        {"transaction_id": one, "reason": reason}
        for one in count.ids
        if one in moves and (reason := refusal(moves[one]))
    ]
    return {
        "id": count.id,
        "act": count.act,
        "done": len(moves) - len(refused),
        "refused": refused,
        "unanswered": [one for one in count.ids if one not in moves],
    }


def _told(
    id_: str, act: str, moves: list[Move], *, transaction_id: str = "", saga: str = ""
) -> dict[str, Any]:
    parts = ("kind", "step", "status", "code", "reason")
    return {
        "id": id_,
        "act": act,
        "transaction_id": transaction_id or None,
        "saga": saga or None,
        "transitions": [
            {part: move[part] or None for part in parts} | {"text": voice.answer(move)} for move in moves
        ],
    }


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Of a route that must await its form first."""
    return await run_in_threadpool(function, *arguments)


def router(doing: Doing) -> APIRouter:
    routes = APIRouter(prefix=API, tags=["acts"])

    @routes.post(
        "/transactions/{transaction_id}/acts", responses=documented(404, 409) | {200: {"model": shapes.Act}}
    )
    def act(request: Request, transaction_id: TransactionId, body: ActBody, key: Key = None) -> JSONResponse:
        """Do something to a transaction, and answer with what the engine made of it. 404: the engine knows no such transaction, whatever
        the view knows. 503: it has not answered yet; the operator action
        is in the journal and will be carried out."""
        return JSONResponse(doing.one(transaction_id, body, person_of(request), key))

    @routes.post("/sagas/acts", responses=documented(404, 409) | {200: {"model": shapes.Act}})
    def act_on_saga(request: Request, body: SagaActBody, key: Key = None) -> JSONResponse:
        """Hold or release a saga, or all of them."""
        return JSONResponse(doing.saga(body, person_of(request), key))

    @routes.post("/bulk/count", responses=documented() | {200: {"model": shapes.BulkCount}})
    def count(request: Request, body: CountBody) -> JSONResponse:
        """Before acting on many: how many, the first few, and the token that the operator action must bring. Changes nothing."""
        return JSONResponse(doing.count(body.act, body.filter, person_of(request))[0])

    @routes.post("/bulk/acts", responses=documented(409) | {200: {"model": shapes.BulkResult}})
    def many(request: Request, body: BulkBody, key: Key = None) -> JSONResponse:
        """Act on exactly those that were counted."""
        return JSONResponse(doing.many(body, person_of(request), key))

    return routes
