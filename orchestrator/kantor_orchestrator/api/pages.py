"""The pages' routes: what ``kantor_orchestrator/web`` shows. Forms work without script; htmx replaces parts where there is."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup
from pydantic import ValidationError

from kantor.errors import KantorError
from kantor_orchestrator.api import acts, story
from kantor_orchestrator.api.access import COOKIE, SESSION, Access, person_of
from kantor_orchestrator.api.acts import ActBody, BulkBody, Doing, SagaActBody
from kantor_orchestrator.api.backend import Backend, new_key
from kantor_orchestrator.api.config import OPERATOR, ApiSettings
from kantor_orchestrator.api.filters import Filters, Search
from kantor_orchestrator.api.problems import TITLES, ProblemError
from kantor_orchestrator.api.rest import at_each_step, definition
from kantor_orchestrator.api.transactions import Number, Topic, TransactionId, payload_as_json, story_for
from kantor_orchestrator.cli.condition import diagnose
from kantor_orchestrator.core import acts as core
from kantor_orchestrator.core.saga import definition_path
from kantor_orchestrator.core.transaction import Status
from kantor_orchestrator.definitions.diagram_svg import Mark, svg_element
from kantor_orchestrator.view.reader import NoViewError
from kantor_orchestrator.view.search import OPEN, PageTokenError
from kantor_orchestrator.web import words
from kantor_orchestrator.web.lanes import swimlanes
from kantor_orchestrator.web.render import Pages
from kantor_orchestrator.web.tree import causal_tree

T = TypeVar("T", ActBody, BulkBody, SagaActBody)

#: Messages of a timeline that are shown at first; the most.
SHOWN, MOST_SHOWN = 200, 10_000
#: Of the stuck ones, so many are counted.
_STUCK = 100
STUCK_CHOICES = ("1m", "5m", "15m", "1h", "6h", "1d", "7d")
BULK = {
    core.RETRY: ("Retry", "What waits for a person in each of them is tried again."),
    core.CANCEL: ("Cancel", "What happened is reversed in each of them, as long as there is a way back."),
    core.COMPENSATE: (
        "Compensate",
        "The effects of each of them are reversed, as long as there is a way back.",
    ),
    core.CLOSE: ("Close", "Each of them ends as it is, whatever its state: nothing is reversed."),
}


class Frame:
    """Renders pages with what all of them show."""

    def __init__(self, backend: Backend, access: Access, pages: Pages) -> None:
        self._backend, self._access, self._pages = backend, access, pages

    def page(self, request: Request, template: str, status: int = 200, /, **values: Any) -> HTMLResponse:
        incidents, behind = 0, 0
        try:
            behind = self._backend.complete_until()
            with self._backend.view() as view:
                incidents = view.incident_count()
        except KantorError:
            pass  # no view yet: the page itself says so
        person = getattr(request.state, "person", None)
        common = {
            "here": request.url.path,
            "person": person,
            "needs_login": self._access.needs_login,
            "form_token": self._access.form_token(request),
            "incident_count": incidents if person else 0,
            "behind": behind if person else 0,
        }
        return HTMLResponse(self._pages.page(template, **(common | values)), status)

    def problem(self, request: Request, status: int, detail: str) -> Response:
        """What a page answers with instead of a problem in JSON."""
        if status == 401 and request.method == "GET":
            wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?next={quote(wanted, safe='')}", 303)
        if request.headers.get("hx-request"):
            values = {"page": False, "ok": False, "text": detail, "items": [], "title": "", "back": "/"}
            return self.page(request, "result.html", status, **values)
        return self.page(request, "problem.html", status, title=TITLES.get(status, "Error"), detail=detail)


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form; how large it may be is guarded before."""
    body = await request.body()
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=100))


async def filters_in(request: Request) -> list[tuple[str, str]]:
    body = await request.body()
    return parse_qsl(body.decode("utf-8", "replace"), max_num_fields=100)


def router(backend: Backend, settings: ApiSettings, access: Access, doing: Doing, frame: Frame) -> APIRouter:
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

    @routes.get("/")
    def home(request: Request) -> HTMLResponse:
        return frame.page(request, "home.html", **_home(backend))

    @routes.get("/transactions")
    def transactions(request: Request) -> Response:
        given = [(name, value) for name, value in request.query_params.multi_items() if value]
        values = _list(backend, given)
        if [name for name, _ in given] == ["q"] and len(values["found"]) == 1 and not values["next_url"]:
            return RedirectResponse(f"/transactions/{quote(values['found'][0].transaction_id, safe='')}", 303)
        return frame.page(request, "list.html", **values)

    @routes.get("/transactions/{transaction_id}")
    def transaction(request: Request, transaction_id: TransactionId) -> HTMLResponse:
        person = person_of(request)
        found = story_for(backend, transaction_id, person)
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
            shown=max(SHOWN, most),
            messages=list(zip(first, gaps, strict=True)),
            remaining=[s.name for s in found.steps if s.status == "pending"] if not found.ended_at else [],
            acts=story.possible_acts(found) if person.may(OPERATOR) else [],
            actors=[story.actor(m) for m in first],
            diagram=_diagram(backend, found),
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
        shown = payload_as_json(payload, person_of(request))
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
            " ".join(str(m[p]) for p in ("step", "kind") if m[p]).replace("_", " ") for m in done["moves"]
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
        if name not in BULK:
            raise ProblemError(422, f"act: {name[:50]} can't be done to many")
        chosen = [(key, value) for key, value in given if key not in ("form", "act")]
        counted, sample = await acts.in_thread(doing.count, name, _filters(chosen), person_of(request))
        return frame.page(
            request,
            "bulk.html",
            act=name,
            said=BULK[name][1],
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
            back=_local(form.get("back", "")),
        )

    @routes.post("/sagas/acts")
    async def act_on_saga(request: Request) -> Response:
        form = await form_of(request)
        access.check_form(request, form.get("form", ""))
        body = _valid(SagaActBody, {part: form.get(part, "") for part in ("act", "saga", "why")})
        await acts.in_thread(doing.saga, body, person_of(request), new_key())
        return frame.page(
            request, "result.html", page=True, ok=True, title=f"{body.act.capitalize()}: done",
            text=f"{body.saga}: {'stands still' if body.act == 'hold' else 'goes on'}", items=[], back="/definitions",
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
        return frame.page(request, "definitions.html", **_definitions(backend))

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

    @routes.get("/login")
    def login(request: Request) -> Response:
        return frame.page(
            request, "login.html", problem="", next=_local(request.query_params.get("next", ""))
        )

    @routes.post("/login")
    async def log_in(request: Request) -> Response:
        form = await form_of(request)
        after = _local(form.get("next", ""))
        token = form.get("token", "").strip()
        if not access.needs_login:
            return RedirectResponse(after, 303)
        if access.by_token(token) is None:
            return frame.page(request, "login.html", 403, problem="nobody has this token", next=after)
        answer = RedirectResponse(after, 303)
        secure = request.url.scheme == "https" or bool(settings.hosts)
        answer.set_cookie(
            COOKIE,
            access.session(token),
            max_age=SESSION,
            httponly=True,
            samesite="strict",
            secure=secure,
            path="/",
        )
        return answer

    @routes.post("/logout")
    async def log_out(request: Request) -> Response:
        access.check_form(request, (await form_of(request)).get("form", ""))
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, path="/")
        return answer

    return routes


def _local(target: str) -> str:
    """A place on this site, whatever a link says."""
    return (
        target
        if target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
        else "/"
    )


def _valid(shape: type[T], values: dict[str, Any]) -> T:
    try:
        return shape(**values)
    except ValidationError as error:
        raise ProblemError(422, _told(error)) from error


def _told(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}"[:200] for one in error.errors()[:5])


def _filters(given: list[tuple[str, str]]) -> Filters:
    try:
        return Filters(**_as_fields(given))
    except ValidationError as error:
        raise ProblemError(422, _told(error)) from error


def _as_fields(given: list[tuple[str, str]]) -> dict[str, Any]:
    fields: dict[str, Any] = {name: value for name, value in given if name != "status"}
    status = [value for name, value in given if name == "status"]
    return fields | ({"status": status} if status else {})


# -- what each page shows


def _home(backend: Backend) -> dict[str, Any]:
    values: dict[str, Any] = {
        "view_error": "", "incidents": [], "holds": [], "wrong": [], "stuck": 0, "stuck_more": False, "open_count": 0,
        "total": 0, "table": [], "columns": [],
    }  # fmt: skip
    try:
        with backend.view() as view:
            counts, holds = view.counts(), view.holds()
            incidents = view.incidents(5)
            stuck = view.search(Filters.model_validate({"stuck_for": "15m"}).criteria(), limit=_STUCK)
    except NoViewError as error:
        return values | {"view_error": str(error)}
    condition = backend.condition()
    columns = [one.value for one in Status if any(status == one for _, status in counts)]
    sagas: dict[str, dict[str, int]] = {}
    for (saga, status), count in counts.items():
        sagas.setdefault(saga, {})[status] = count
    return values | {
        "incidents": incidents,
        "holds": holds,
        "wrong": [
            p for p in diagnose(condition) if "incident" not in p.what and "stands still" not in p.what
        ],
        "stuck": len(stuck.transactions),
        "stuck_more": bool(stuck.next_page),
        "open_count": sum(count for (_, status), count in counts.items() if status in OPEN),
        "total": sum(counts.values()),
        "table": sorted(sagas.items(), key=lambda item: (not item[0], item[0])),
        "columns": columns,
    }


def _list(backend: Backend, given: list[tuple[str, str]]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "view_error": "", "problem": "", "found": [], "partial": False, "next_url": "", "sagas": [],
        "statuses": [one.value for one in Status], "stuck_choices": list(STUCK_CHOICES),
        "bulk_acts": [(name, said) for name, (said, _) in BULK.items()],
    }  # fmt: skip
    chosen = [(name, value) for name, value in given if name != "page_token"]
    try:
        wanted = Search(**_as_fields(given))
    except ValidationError as error:
        wanted, chosen, values["problem"] = Search(), [], _told(error)  # type: ignore[call-arg]
    if wanted.stuck_for and wanted.stuck_for not in STUCK_CHOICES:
        values["stuck_choices"].append(wanted.stuck_for)
    values |= {
        "f": wanted,
        "is_filtered": bool(wanted.criteria()),
        "hidden": [c for c in chosen if c[0] != "limit"],
    }
    try:
        with backend.view() as view:
            page = view.search(wanted.criteria(), limit=wanted.limit, page=wanted.page_token)
            values["sagas"] = sorted({saga for saga, _ in view.counts() if saga})
        more = [*chosen, ("page_token", page.next_page)]
        next_url = "/transactions?" + urlencode(more) if page.next_page else ""
        values |= {"found": page.transactions, "partial": page.is_partial, "next_url": next_url}
    except NoViewError as error:
        values["view_error"] = str(error)
    except PageTokenError as error:
        values["problem"] = str(error)
    return values


def _diagram(backend: Backend, found: Any) -> Markup:
    """The saga with each step's state and time; empty if there is no definition."""
    bundle = backend.bundle(found.saga, found.version) if found.saga else None
    if bundle is None:
        return Markup("")
    marks = {path: Mark(f"d-{status}", line) for path, (status, line) in story.marks(found.steps).items()}
    return Markup(svg_element(bundle.model, marks))  # noqa: S704 - it escapes what it writes


def _definitions(backend: Backend) -> dict[str, Any]:
    try:
        bundles = backend.definitions().bundles()
    except KantorError as error:
        return {"problem": str(error), "sagas": []}
    counts: dict[tuple[str, str], int] = {}
    held: dict[str, str] = {}
    try:
        with backend.view() as view:
            counts = view.counts()
            held = {hold.saga: hold.reason for hold in view.holds()}
    except NoViewError:
        pass  # counts come with the first transaction
    sagas: dict[str, dict[str, Any]] = {}
    for bundle in bundles:
        name = bundle.model.saga
        facts = sagas.setdefault(name, {"saga": name, "versions": []})
        facts["versions"].append(bundle.model.version)
        facts |= {
            "latest": bundle.model.version,
            "starts_on": bundle.model.starts_on,
            "steps": len(bundle.model.steps),
            "counts": [(s.value, counts[name, s]) for s in Status if counts.get((name, s))],
            "held": held.get(name, ""),
        }
    return {"problem": "", "sagas": list(sagas.values())}
