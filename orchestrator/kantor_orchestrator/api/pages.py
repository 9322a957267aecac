"""The pages' routes: what ``kantor_orchestrator/web`` shows. Forms work without script; htmx replaces parts where there is."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup
from pydantic import ValidationError

from kantor_orchestrator.api import acts, contents, story
from kantor_orchestrator.api.access import Access, person_of
from kantor_orchestrator.api.acts import ActBody, BulkBody, Doing, SagaActBody
from kantor_orchestrator.api.backend import Backend, new_key
from kantor_orchestrator.api.config import ApiSettings
from kantor_orchestrator.api.deployed import at_each_step, definition
from kantor_orchestrator.api.filters import Filters
from kantor_orchestrator.api.frame import Frame, filters_in, form_of, local
from kantor_orchestrator.api.people import OPERATOR
from kantor_orchestrator.api.problems import ProblemError
from kantor_orchestrator.api.transactions import (
    Number,
    Topic,
    TransactionId,
    payload_as_json,
    story_and_start,
)
from kantor_orchestrator.core.act_kinds import FOR_MANY
from kantor_orchestrator.core.saga import definition_path
from kantor_orchestrator.definitions.diagram_svg import Mark, svg_element
from kantor_orchestrator.view.reader import NoViewError
from kantor_orchestrator.web import words
from kantor_orchestrator.web.lanes import MOST_DOTS, swimlanes
from kantor_orchestrator.web.tree import causal_tree

T = TypeVar("T", ActBody, BulkBody, SagaActBody)

#: Messages of a timeline that are shown at first; the most.
SHOWN, MOST_SHOWN = 200, 10_000


def router(backend: Backend, settings: ApiSettings, access: Access, doing: Doing, frame: Frame) -> APIRouter:
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

    @routes.get("/")
    def home(request: Request) -> HTMLResponse:
        return frame.page(request, "home.html", **contents.home(backend))

    @routes.get("/transactions")
    def transactions(request: Request) -> Response:
        given = [(name, value) for name, value in request.query_params.multi_items() if value]
        values = contents.listing(backend, given, person_of(request))
        if [name for name, _ in given] == ["q"] and len(values["found"]) == 1 and not values["next_url"]:
            return RedirectResponse(f"/transactions/{quote(values['found'][0].transaction_id, safe='')}", 303)
        return frame.page(request, "list.html", **values)

    @routes.get("/transactions/{transaction_id}")
    def transaction(request: Request, transaction_id: TransactionId) -> HTMLResponse:
        person = person_of(request)
        found, complete_from = story_and_start(backend, transaction_id, person)
        shown = request.query_params.get("shown", "")
        most = (
            min(MOST_SHOWN, int(shown)) if shown.isascii() and shown.isdecimal() and len(shown) < 9 else SHOWN
        )
        first = found.timeline[: max(SHOWN, most)]
        gaps = [-1, *(max(0, after.at - before.at) for before, after in pairwise(first))]
        return frame.page(
            request,
            "transaction.html",
            t=found,
            complete_from=complete_from,
            kinds={message.kind for message in found.timeline} if len(found.timeline) <= MOST_DOTS else set(),
            most_dots=MOST_DOTS,
            shown=max(SHOWN, most),
            messages=list(zip(first, gaps, strict=True)),
            remaining=[s.name for s in found.steps if s.status == "pending"] if not found.ended_at else [],
            acts=story.possible_acts(found) if person.may(OPERATOR) else [],
            actions=[story.action(m) for m in first],
            diagram=contents.diagram(backend, found),
            lanes=swimlanes(found),
            tree=causal_tree(found.timeline),
        )

    @routes.get("/transactions/{transaction_id}/messages/{topic}/{partition}/{offset}")
    def message(
        request: Request, transaction_id: TransactionId, topic: Topic, partition: Number, offset: Number
    ) -> HTMLResponse:
        with backend.view() as view:
            found = view.trace(transaction_id)
        _, payload = backend.message(found, f"{topic}/{partition}/{offset}")
        shown = payload_as_json(payload, person_of(request), transaction_id)
        trace_id = shown["trace_id"]
        return frame.page(
            request,
            "message.html",
            page=not request.headers.get("hx-request"),
            p=shown | {"at_ms": payload.at},
            id=transaction_id,
            dump=words.hex_dump(bytes.fromhex(shown["hex"] or "")),
            trace_url=settings.trace_url.replace("{trace_id}", trace_id)
            if trace_id and settings.trace_url
            else "",
        )

    @routes.post("/transactions/{transaction_id}/acts")
    async def act(request: Request, transaction_id: TransactionId) -> HTMLResponse:
        form = await form_of(request)
        access.check_form(request, form.get("form", ""))
        body = _valid(ActBody, {"act": form.get("act"), "why": form.get("why"), "step": form.get("step", "")})
        key = form.get("key", "")
        done = await acts.in_thread(doing.one, transaction_id, body, person_of(request), key or None)
        told = "; ".join(
            " ".join(str(m[p]) for p in ("step", "kind") if m[p]).replace("_", " ")
            for m in done["transitions"]
        )
        return frame.page(
            request,
            "result.html",
            page=not request.headers.get("hx-request"),
            ok=True,
            title=f"{body.act.capitalize()}: done",
            text=f"{body.act.capitalize()}: {told}",
            items=[],
            back=f"/transactions/{quote(transaction_id)}",
        )

    @routes.post("/bulk/count")
    async def count(request: Request) -> HTMLResponse:
        given = await filters_in(request)
        form = dict(given)
        access.check_form(request, form.get("form", ""))
        name = form.get("act", "")
        if name not in FOR_MANY:
            raise ProblemError(422, f"act: {name[:50]} is not available for many transactions at once")
        chosen = [(key, value) for key, value in given if key not in ("form", "act")]
        counted, sample = await acts.in_thread(doing.count, name, _filters(chosen), person_of(request))
        return frame.page(
            request,
            "bulk.html",
            act=name,
            said=FOR_MANY[name].of_each,
            back="/transactions?" + urlencode(chosen),
            found=sample,
            **{part: counted[part] for part in ("count", "more", "token")},
        )

    @routes.post("/bulk/acts")
    async def many(request: Request) -> HTMLResponse:
        form = await form_of(request)
        access.check_form(request, form.get("form", ""))
        body = _valid(BulkBody, {"token": form.get("token"), "why": form.get("why")})
        done = await acts.in_thread(doing.many, body, person_of(request), None)
        text = f"{done['act'].capitalize()}: done to {done['done']:,}"
        if done["refused"]:
            text += f", not possible for {len(done['refused']):,}"
        if done["unanswered"]:
            text += f", not answered yet for {len(done['unanswered']):,}: they are in the journal and will be carried out"
        return frame.page(
            request,
            "result.html",
            page=True,
            ok=not done["refused"],
            title=f"{done['act'].capitalize()}: {done['done']:,} done",
            text=text,
            items=[(one["transaction_id"], one["reason"]) for one in done["refused"][:100]]
            + [(one, "") for one in done["unanswered"][:100]],
            back=local(form.get("back", "")),
        )

    @routes.post("/sagas/acts")
    async def act_on_saga(request: Request) -> Response:
        form = await form_of(request)
        access.check_form(request, form.get("form", ""))
        body = _valid(SagaActBody, {part: form.get(part, "") for part in ("act", "saga", "why")})
        await acts.in_thread(doing.saga, body, person_of(request), new_key())
        return frame.page(
            request, "result.html", page=True, ok=True, title=f"{body.act.capitalize()}: done",
            text=f"{body.saga}: {'is on hold' if body.act == 'hold' else 'is released'}", items=[], back="/definitions",
        )  # fmt: skip

    @routes.get("/incidents")
    def incidents(request: Request) -> HTMLResponse:
        token = request.query_params.get("page_token", "")
        values: dict[str, Any] = {"view_error": "", "found": [], "next_page": "", "self_url": "/incidents"}
        try:
            with backend.view() as view:
                page = view.incident_page(page=token)
            values |= {"found": page.incidents, "next_page": page.next_page}
            if token:
                values["self_url"] = "/incidents?" + urlencode({"page_token": token})
        except NoViewError as error:
            values["view_error"] = str(error)
        return frame.page(request, "incidents.html", **values)

    @routes.get("/definitions")
    def definitions(request: Request) -> HTMLResponse:
        return frame.page(request, "definitions.html", **contents.definitions(backend))

    @routes.get("/definitions/{saga}/{version}")
    def one(request: Request, saga: str, version: int) -> HTMLResponse:
        deployed = backend.definitions()
        found = deployed.bundle(saga, version)
        if found is None:
            raise ProblemError(404, f"no version {version} of a saga {saga[:100]} is deployed")
        at = at_each_step(backend, saga, version)
        counts: dict[str, int] = {}
        for path, number in at.items():
            counts[definition_path(path)] = counts.get(definition_path(path), 0) + number
        marks = {path: Mark("d-busy", f"{number:,} open") for path, number in counts.items()}
        return frame.page(
            request,
            "definition.html",
            d=definition(found, None),
            deployed=found.deployed_at,
            versions=[b.model.version for b in deployed.bundles() if b.model.saga == saga],
            definition=found.model.model_dump(mode="json", exclude_defaults=True),
            diagram=Markup(svg_element(found.model, marks)),  # noqa: S704 - it escapes what it writes
        )

    return routes


def _valid(shape: type[T], values: dict[str, Any]) -> T:
    try:
        return shape(**values)
    except ValidationError as error:
        raise ProblemError(422, contents.told(error)) from error


def _filters(given: list[tuple[str, str]]) -> Filters:
    try:
        return Filters(**contents.as_fields(given))
    except ValidationError as error:
        raise ProblemError(422, contents.told(error)) from error
