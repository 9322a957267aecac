"""What all pages share: their head, how they tell a problem, how a form is read."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import parse_qsl, quote

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from kantor.errors import KantorError
from kantor_orchestrator.api.access import Access
from kantor_orchestrator.api.backend import Backend
from kantor_orchestrator.api.problems import TITLES, ProblemError
from kantor_orchestrator.view.reader import NoViewError
from kantor_orchestrator.web.render import Pages

log = logging.getLogger("kantor.api")

#: Fields that a form may have.
MOST_FIELDS = 100


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
        except NoViewError as error:  # the page itself says so, where it shows what is in it
            log.debug("a page without a view: %s", error)
        except (
            KantorError
        ) as error:  # the page goes on without a number in its head; what it is about may be well
            log.warning("a page's head: %s", error, extra={"action": "page_head_failed"})
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
    """The fields of a form; how large it may be is guarded before. Raises ``ProblemError`` for too many."""
    return dict(await _fields_of(request, keep_blank=True))


async def filters_in(request: Request) -> list[tuple[str, str]]:
    """Raises as :func:`form_of`."""
    return await _fields_of(request, keep_blank=False)


async def _fields_of(request: Request, *, keep_blank: bool) -> list[tuple[str, str]]:
    text = (await request.body()).decode("utf-8", "replace")
    try:
        return parse_qsl(text, keep_blank_values=keep_blank, max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise ProblemError(413, f"a form may have at most {MOST_FIELDS} fields") from error


def local(target: str) -> str:
    """A place on this site, whatever a link says."""
    return (
        target
        if target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
        else "/"
    )
