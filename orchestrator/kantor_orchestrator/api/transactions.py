"""``/transactions``: searching, one with its timeline, its messages, its changes."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from kantor.envelope import rfc3339
from kantor.errors import NotFoundError
from kantor_orchestrator.api import shapes
from kantor_orchestrator.api.access import API, person_of
from kantor_orchestrator.api.backend import Backend
from kantor_orchestrator.api.filters import Duration, Search
from kantor_orchestrator.api.live import Live
from kantor_orchestrator.api.payloads import Payload, without_personal_data
from kantor_orchestrator.api.people import OPERATOR, Person
from kantor_orchestrator.api.problems import ProblemError, documented
from kantor_orchestrator.definitions import durations
from kantor_orchestrator.definitions.personal import MASK
from kantor_orchestrator.view import as_json
from kantor_orchestrator.view.queries import Page
from kantor_orchestrator.view.trace import Trace
from kantor_orchestrator.words import incomplete

TransactionId = Annotated[str, Path(max_length=128, min_length=1)]
Topic = Annotated[str, Path(max_length=249, min_length=1)]
Number = Annotated[int, Path(ge=0, le=2**62)]

#: Seconds that a caller may wait for an outcome.
LONGEST_WAIT = 60_000
#: Bytes of a message that are shown in hex; what is longer is downloaded.
MOST_HEX = 16_384
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def router(backend: Backend, live: Live) -> APIRouter:
    routes = APIRouter(prefix=f"{API}/transactions", tags=["transactions"])

    @routes.get("", responses=documented() | {200: {"model": shapes.TransactionPage}})
    def search(request: Request, wanted: Annotated[Search, Query()]) -> JSONResponse:
        """Search transactions; the newest first."""
        with backend.view() as view:
            found = view.search(wanted.criteria(), limit=wanted.limit, page=wanted.page_token)
            complete_from = view.complete_from()
        return JSONResponse(as_json.page(without_guesses(found, wanted.q, person_of(request)), complete_from))

    @routes.get("/{transaction_id}", responses=documented(404) | {200: {"model": shapes.Transaction}})
    async def one(
        request: Request,
        transaction_id: TransactionId,
        wait: Annotated[
            Duration | None,
            Query(
                description="Answer when the transaction has ended, or after this time (at most 60s) with its current state."
            ),
        ] = None,
    ) -> JSONResponse:
        """One transaction with its steps and its timeline."""
        seconds = min(LONGEST_WAIT, durations.parse(wait)) / 1000 if wait else 0.0
        if wait:
            await live.until(partial(_has_ended, backend, transaction_id), seconds)
        found = await live.until(lambda: [_shown(backend, transaction_id, person_of(request))], 0)
        return JSONResponse(found[0])

    @routes.get(
        "/{transaction_id}/events",
        responses=documented(404) | {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def events(
        request: Request, transaction_id: TransactionId, seconds: Annotated[float, Query(ge=0, le=300)] = 300
    ) -> StreamingResponse:
        """Server-sent events: ``changed`` now and after each change of this transaction, with its summary."""

        def stamp() -> str:
            with backend.view() as view:
                return view.stamp(transaction_id)

        def data() -> Any:
            with backend.view() as view:
                return as_json.summary(view.summaries([transaction_id])[0])

        if not await live.until(stamp, 0):
            raise ProblemError(404, f"no transaction {transaction_id}")
        stream = live.stream(stamp, data, seconds, request.state.is_known)
        return StreamingResponse(stream, media_type="text/event-stream")

    @routes.get(
        "/{transaction_id}/messages/{topic}/{partition}/{offset}",
        responses=documented(404, 410) | {200: {"model": shapes.Payload}},
    )
    def message(
        request: Request, transaction_id: TransactionId, topic: Topic, partition: Number, offset: Number
    ) -> JSONResponse:
        """A message of this transaction, read from Kafka: headers, decoded, hex."""
        found = _payload(backend, transaction_id, f"{topic}/{partition}/{offset}")
        return JSONResponse(payload_as_json(found, person_of(request), transaction_id))

    @routes.get(
        "/{transaction_id}/messages/{topic}/{partition}/{offset}/raw",
        responses=documented(404, 410)
        | {
            200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
        },
        response_class=Response,
    )
    def raw(
        request: Request, transaction_id: TransactionId, topic: Topic, partition: Number, offset: Number
    ) -> Response:
        """Its value's bytes."""
        found = _payload(backend, transaction_id, f"{topic}/{partition}/{offset}")
        if not person_of(request).may(OPERATOR) and not without_personal_data(found)[1]:
            raise ProblemError(403, "it may hold personal data: this needs the role operator")
        name = re.sub(r"[^A-Za-z0-9._-]", "_", f"{topic}-{partition}-{offset}.bin")
        return Response(
            found.value or b"",
            media_type="application/octet-stream",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    return routes


def _has_ended(backend: Backend, transaction_id: str) -> bool:
    with backend.view() as view:
        found = view.summaries([transaction_id])
    return bool(found) and bool(found[0].ended_at)


def story_and_start(backend: Backend, transaction_id: str, person: Person) -> tuple[Trace, int]:
    """The story as this person may see it, with the time (ms) from which the view is complete if this began before, else 0. Raises
    ``NotFoundError``, which says so if the view may have lost it."""
    with backend.view() as view:
        complete_from = view.complete_from()
        try:
            story = view.trace(transaction_id)
        except NotFoundError as error:
            if not complete_from:
                raise
            raise NotFoundError(f"{error}. {incomplete(rfc3339(complete_from))}") from error
    story = story if person.may(OPERATOR) else without_personal_keys(backend, story)
    return story, complete_from if story.started_at < complete_from else 0


def without_guesses(found: Page, text: str, person: Person) -> Page:
    """For who may not see personal data: not what was found by a key that is not shown. Else people could try whose it is."""
    if not text or person.may(OPERATOR):
        return found
    kept = [
        one
        for one in found.transactions
        if one.transaction_id.startswith(text)
        or any(text in (value, f"{name}={value}") for name, value in one.keys)
    ]
    return found if len(kept) == len(found.transactions) else Page(kept, "")


def without_personal_keys(backend: Backend, story: Trace) -> Trace:
    """Keys that are personal data, and what people have said with operator actions, are masked."""
    hidden = backend.personal_keys(story.saga, story.version, [name for name, _ in story.keys])
    story.keys[:] = [(name, MASK if name in hidden else value) for name, value in story.keys]
    for message in story.timeline:
        if message.kind == "act":
            message.detail = ""  # a signal's fields may be anything
    return story


def _shown(backend: Backend, transaction_id: str, person: Person) -> Any:
    return as_json.trace(*story_and_start(backend, transaction_id, person))


def _payload(backend: Backend, transaction_id: str, place: str) -> Payload:
    with backend.view() as view:
        story = view.trace(transaction_id)
    try:
        return backend.message(story, place)[1]
    except NotFoundError as error:
        if story.parent and str(error).startswith("no message"):
            raise NotFoundError(f"{error}; its parent is {story.parent}") from error
        raise


def payload_as_json(found: Payload, person: Person, transaction_id: str) -> dict[str, Any]:
    """What this person may see of a message of this transaction."""
    decoded, value = found.decoded, found.value or b""
    key = None if found.key is None else found.key.decode("utf-8", "replace")
    hidden = False
    if not person.may(OPERATOR):
        decoded, shown = without_personal_data(found)
        hidden = not shown
        # Any field may have been made the key, also one that is personal data and not in this message.
        key = key if key in (None, transaction_id) else MASK
    name = ""
    if found.schema is not None:
        space = found.schema.get("namespace", "")
        name = (
            f"{space}.{found.schema['name']}"
            if space and "." not in found.schema["name"]
            else found.schema["name"]
        )
    trace = _TRACEPARENT.fullmatch(found.header("traceparent"))
    return {
        "place": found.place,
        "at": as_json.time(found.at),
        "key": key,
        "headers": [_header(key, data) for key, data in found.headers],
        "size": len(value),
        "schema": name or None,
        "decoded": decoded,
        "trouble": found.trouble or None,
        "hex": None if hidden else value[:MOST_HEX].hex(),
        "truncated": len(value) > MOST_HEX,
        "hidden": hidden,
        "trace_id": trace[1] if trace else None,
    }


def _header(name: str, value: bytes | None) -> dict[str, str | None]:
    if value is None:
        return {"name": name, "value": None, "hex": None}
    try:
        return {"name": name, "value": value.decode(), "hex": None}
    except UnicodeDecodeError:
        return {"name": name, "value": None, "hex": value.hex()}
