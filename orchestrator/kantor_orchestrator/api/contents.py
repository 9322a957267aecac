"""What each page shows: the values of its template, from the view and what is deployed. Nothing of requests in it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup
from pydantic import ValidationError

from kantor.errors import KantorError
from kantor_orchestrator.api import story
from kantor_orchestrator.api.backend import Backend
from kantor_orchestrator.api.filters import Filters, Search
from kantor_orchestrator.api.people import Person
from kantor_orchestrator.api.transactions import without_guesses
from kantor_orchestrator.core.act_kinds import FOR_MANY
from kantor_orchestrator.core.transaction import Status
from kantor_orchestrator.definitions.diagram_svg import Mark, svg_element
from kantor_orchestrator.operations.diagnosis import diagnose
from kantor_orchestrator.view.reader import NoViewError
from kantor_orchestrator.view.search import OPEN, PageTokenError
from kantor_orchestrator.view.status import ShownStatus

#: Of the stuck ones, so many are counted.
_STUCK = 100
STUCK_CHOICES = ("1m", "5m", "15m", "1h", "6h", "1d", "7d")


def home(backend: Backend) -> dict[str, Any]:
    values: dict[str, Any] = {
        "view_error": "", "incidents": [], "holds": [], "wrong": [], "stuck": 0, "stuck_more": False, "open_count": 0,
        "total": 0, "table": [], "columns": [], "complete_from": 0,
    }  # fmt: skip
    try:
        with backend.view() as view:
            counts, holds = view.counts(), view.holds()
            complete_from = view.complete_from()
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
        "wrong": [p for p in diagnose(condition) if "incident" not in p.what and "is on hold" not in p.what],
        "stuck": len(stuck.transactions),
        "stuck_more": bool(stuck.next_page),
        "open_count": sum(count for (_, status), count in counts.items() if status in OPEN),
        "total": sum(counts.values()),
        "table": sorted(sagas.items(), key=lambda item: (not item[0], item[0])),
        "columns": columns,
        "complete_from": complete_from,
    }


def listing(backend: Backend, given: list[tuple[str, str]], person: Person) -> dict[str, Any]:
    values: dict[str, Any] = {
        "view_error": "", "problem": "", "found": [], "partial": False, "next_url": "", "sagas": [], "complete_from": 0,
        "statuses": [one.value for one in ShownStatus], "stuck_choices": list(STUCK_CHOICES),
        "bulk_acts": [(kind.name, kind.title) for kind in FOR_MANY.values()],
    }  # fmt: skip
    chosen = [(name, value) for name, value in given if name != "page_token"]
    try:
        wanted = Search(**as_fields(given))
    except ValidationError as error:
        wanted, chosen, values["problem"] = Search(), [], told(error)  # type: ignore[call-arg]
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
            values["complete_from"] = view.complete_from()
            values["sagas"] = sorted({saga for saga, _ in view.counts() if saga})
        page = without_guesses(page, wanted.q, person)
        more = [*chosen, ("page_token", page.next_page)]
        next_url = "/transactions?" + urlencode(more) if page.next_page else ""
        values |= {"found": page.transactions, "partial": page.is_partial, "next_url": next_url}
    except NoViewError as error:
        values["view_error"] = str(error)
    except PageTokenError as error:
        values["problem"] = str(error)
    return values


def diagram(backend: Backend, found: Any) -> Markup:
    """The saga with each step's state and time; empty if there is no definition."""
    bundle = backend.bundle(found.saga, found.version) if found.saga else None
    if bundle is None:
        return Markup("")
    marks = {path: Mark(f"d-{status}", line) for path, (status, line) in story.marks(found.steps).items()}
    return Markup(svg_element(bundle.model, marks))  # noqa: S704 - it escapes what it writes


def definitions(backend: Backend) -> dict[str, Any]:
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


def told(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}"[:200] for one in error.errors()[:5])


def as_fields(given: list[tuple[str, str]]) -> dict[str, Any]:
    fields: dict[str, Any] = {name: value for name, value in given if name != "status"}
    status = [value for name, value in given if name == "status"]
    return fields | ({"status": status} if status else {})
