"""The pages over a real view: what is on them, forms, text from outside. What a browser makes of them: tests/e2e."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api_kit import StoredBackend, checkouts, definitions, people
from kantor.errors import KantorError
from kantor_orchestrator.api import story
from kantor_orchestrator.api.app import create_app
from kantor_orchestrator.api.config import ApiSettings
from kantor_orchestrator.api.payloads import Payload
from kantor_orchestrator.definitions import diagram_svg
from kantor_orchestrator.view.database import ViewWriter
from kantor_orchestrator.view.remedies import Remedy
from view_places import Places, execute
from view_traffic import Traffic, project
from waiting import PATIENCE

SETTINGS, TOKENS = people()
NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)> \u202etxt.exe 🎹 עברית \x00\x1b[31m"


@pytest.fixture
def backend(tmp_path: Path, places: Places) -> Iterator[StoredBackend]:
    checkouts(places("pages"), extra=2)
    with closing(StoredBackend(tmp_path, definitions(), places("pages"))) as made:
        yield made


@pytest.fixture
def browser(backend: StoredBackend) -> Iterator[TestClient]:
    with TestClient(create_app(backend, ApiSettings()), base_url="http://localhost") as client:
        yield client


def form_token(page: str) -> str:
    found = re.search(r'name="form" value="([^"]+)"', page)
    assert found
    return found[1]


def test_the_home_page_counts_and_links(browser: TestClient) -> None:
    """By saga and status, and what needs somebody."""
    page = browser.get("/").text
    assert "What needs a person now" in page
    assert 'href="/transactions?status=completed&amp;saga=checkout">1</a>' in page
    assert "<strong>4</strong><span>open" in page


def test_the_list_keeps_its_filters_in_the_address(browser: TestClient) -> None:
    """Also the link to the next page does."""
    page = browser.get("/transactions?status=running&limit=2").text
    found = re.search(r'href="(/transactions\?[^"]*page_token=[^"]*)"', page)
    assert found
    second = browser.get(html.unescape(found[1])).text
    assert "tx-running" in second
    assert "tx-more-1" not in second
    assert '<option value="running" selected>' in second


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("q=zzz", "No transactions match"),
        ("status=gone", "status"),
        ("page_token=xyz", "begin without one"),
        ("stuck_for=soon", "stuck_for"),
    ],
)
def test_an_empty_or_wrong_search_says_what_to_do(browser: TestClient, query: str, said: str) -> None:
    """As a page."""
    answer = browser.get(f"/transactions?{query}")
    assert answer.status_code == 200
    assert said in answer.text


def test_a_transactions_page_tells_its_story(browser: TestClient) -> None:
    """Header, diagram with states, steps, lanes, timeline, tree."""
    page = browser.get("/transactions/tx-compensated").text
    for part in (
        "compensated",
        "1042",
        "ShipmentUnavailable",
        "no truck",
        "d-compensated",
        "swim",
        "What caused what",
    ):
        assert part.lower() in page.lower(), part
    assert page.count('<details id="m-') == 9
    assert 'class="lanes"' in page


def test_only_the_acts_that_make_sense_are_offered(browser: TestClient) -> None:
    """Nothing for what has ended, cancel for what runs."""
    assert 'name="act"' not in browser.get("/transactions/tx-completed").text
    page = browser.get("/transactions/tx-running").text
    assert 'value="cancel"' in page
    assert 'value="close"' in page
    assert 'value="retry"' not in page


def test_a_long_story_is_shown_in_parts(tmp_path: Path, places: Places) -> None:
    """Of 5,000 messages the first 200, at once, with lanes that show how much was said."""
    traffic = Traffic()
    cause = traffic.order("tx-long")
    for number in range(5_000):
        cause = traffic.event("tx-long", f"inventory.Thing{number % 3}", cause=cause)
    project(traffic, places("long"))
    with (
        closing(StoredBackend(tmp_path, definitions(), places("long"))) as backend,
        TestClient(create_app(backend, ApiSettings()), base_url="http://localhost") as browser,
    ):
        page = browser.get("/transactions/tx-long").text
        assert page.count('<details id="m-') == 200
        assert "Show 200 more of 5,001" in page
        assert len(page) < 600_000
        assert browser.get("/transactions/tx-long?shown=400").text.count('<details id="m-') == 400


def test_an_act_needs_the_forms_own_token(browser: TestClient, backend: StoredBackend) -> None:
    """Only a page of ours knows it."""
    form = {"act": "close", "why": "enough"}
    tries: tuple[dict[str, str], ...] = ({}, {"form": "guess"})
    for without in tries:
        assert browser.post("/transactions/tx-running/acts", data=form | without).status_code == 403
    assert backend.acted == []
    token = form_token(browser.get("/transactions/tx-running").text)
    answer = browser.post("/transactions/tx-running/acts", data=form | {"form": token, "key": "k-1"})
    assert answer.status_code == 200
    assert backend.acted == [("close", "tx-running", "local", "enough", "k-1")]


def test_many_are_shown_before_they_are_acted_on(browser: TestClient, backend: StoredBackend) -> None:
    """Count and sample first; then exactly these."""
    token = form_token(browser.get("/transactions?status=running").text)
    page = browser.post("/bulk/count", data={"form": token, "act": "cancel", "status": "running"}).text
    assert "Cancel 3" in page
    assert "tx-more-1" in page
    assert backend.acted == []
    count = re.search(r'name="token" value="([^"]+)"', page)
    assert count
    answer = browser.post(
        "/bulk/acts", data={"form": token, "token": count[1], "why": "closed", "back": "//evil"}
    )
    assert "done to 3" in answer.text
    assert 'href="//evil"' not in answer.text
    assert len(backend.acted) == 3


def test_text_from_messages_is_text(browser: TestClient, backend: StoredBackend, tmp_path: Path) -> None:
    """HTML, scripts, control characters and what turns the direction are shown, and do nothing."""
    place = browser.get("/api/v1/transactions/tx-completed").json()["timeline"][0]["origin"]
    backend.stored[place] = Payload(
        place,
        1,
        NASTY.encode(),
        [(NASTY, NASTY.encode())],
        NASTY.encode(),
        {NASTY: NASTY},
        {"name": "A", "fields": []},
    )
    page = browser.get(f"/transactions/tx-completed/messages/{place}").text
    assert "&lt;script&gt;alert(1)" in page
    for raw in ("<script>alert", "<img src=x", "\u202e", "\x00", "\x1b"):
        assert raw not in page, repr(raw)
    assert "⟨U+202E⟩" in page
    assert "🎹 עברית" in page


def test_a_megabyte_is_cut_and_binary_is_hex(browser: TestClient, backend: StoredBackend) -> None:
    """The page stays small; the bytes can be downloaded."""
    place = browser.get("/api/v1/transactions/tx-completed").json()["timeline"][0]["origin"]
    backend.stored[place] = Payload(place, 1, None, [], bytes(range(256)) * 4_096, "x" * 1_000_000)
    page = browser.get(f"/transactions/tx-completed/messages/{place}", headers={"HX-Request": "true"}).text
    assert len(page) < 200_000
    assert "more characters" in page
    assert "00000000  00 01 02 03" in page
    raw = browser.get(f"/api/v1/transactions/tx-completed/messages/{place}/raw")
    assert len(raw.content) == 1_048_576


def test_nothing_on_a_page_is_inline_or_from_elsewhere(browser: TestClient) -> None:
    """As the policy demands: no style or script in the HTML, no address of another site."""
    for url in (
        "/",
        "/transactions",
        "/transactions/tx-compensated",
        "/incidents",
        "/definitions",
        "/definitions/checkout/1",
    ):
        page = browser.get(url).text
        assert not re.search(r"<script(?! src=\"/static/)", page), url
        assert not re.search(r"\sstyle=|<style|\son\w+=|javascript:", page), url
        assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", page), url


def test_without_a_view_every_page_says_what_to_do(tmp_path: Path, places: Places) -> None:
    """Empty states, no errors."""
    with (
        closing(StoredBackend(tmp_path, place=places("none"))) as backend,
        TestClient(create_app(backend, ApiSettings()), base_url="http://localhost") as browser,
    ):
        for url in ("/", "/transactions", "/incidents"):
            answer = browser.get(url)
            assert answer.status_code == 200, url
            assert "kantor run" in answer.text, url
        assert "Kafka does not answer" in browser.get("/definitions").text


def test_what_is_not_there_is_a_page_for_people(browser: TestClient) -> None:
    """With a way back; the API answers with a problem."""
    answer = browser.get("/transactions/nobody")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "no transaction nobody" in answer.text
    assert browser.get("/api/v1/nobody").headers["content-type"] == "application/problem+json"


def test_a_view_that_lags_says_as_of_when(browser: TestClient, backend: StoredBackend) -> None:
    """More than it may be behind."""
    import time

    from kantor_orchestrator.view.database import ViewWriter

    now = int(time.time() * 1000)
    later = now + int(PATIENCE * 1000)  # it keeps up while the page is asked for, however long that takes
    for complete, lags in ((later, False), (now - 60_000, True)):
        writer = ViewWriter(backend._path)
        writer.alive(0, complete)
        writer.close()
        assert ("As of" in browser.get("/").text) is lags


def test_people_log_in_with_a_token_and_out_again(backend: StoredBackend) -> None:
    """The cookie is out of reach of scripts and of other sites; after the logout it is gone."""
    with TestClient(create_app(backend, SETTINGS), base_url="https://kantor.example") as browser:
        login = browser.get("/transactions?status=running", follow_redirects=False)
        assert login.headers["location"] == "/login?next=%2Ftransactions%3Fstatus%3Drunning"
        assert browser.post("/login", data={"token": "wrong"}).status_code == 403
        answer = browser.post(
            "/login", data={"token": TOKENS["operator"], "next": "/transactions"}, follow_redirects=False
        )
        assert answer.headers["location"] == "/transactions"
        cookie = answer.headers["set-cookie"].lower()
        assert all(word in cookie for word in ("httponly", "samesite=strict", "secure", "path=/"))
        page = browser.get("/transactions/tx-running").text
        assert "operator@example" in page
        browser.post(
            "/transactions/tx-running/acts", data={"act": "close", "why": "x", "form": form_token(page)}
        )
        assert [actor for _, _, actor, _, _ in backend.acted] == ["operator@example"]
        assert browser.post("/logout", data={"form": form_token(page)}).url.path == "/login"
        assert browser.get("/", follow_redirects=False).status_code == 303


@pytest.mark.parametrize("after", ["//evil.example", "https://evil.example", "/\\evil.example", "", "/a\nb"])
def test_a_login_leads_nowhere_else(backend: StoredBackend, after: str) -> None:
    """Whatever the link said."""
    with TestClient(create_app(backend, SETTINGS), base_url="https://kantor.example") as browser:
        answer = browser.post(
            "/login", data={"token": TOKENS["viewer"], "next": after}, follow_redirects=False
        )
        assert answer.headers["location"] == "/"


def test_a_forged_session_is_nobodys(backend: StoredBackend) -> None:
    """Neither another name nor another time under the same signature."""
    with TestClient(create_app(backend, SETTINGS), base_url="https://kantor.example") as browser:
        for cookie in ("x", "x.y.z", "." * 5, f"{'0' * 64}.99999999999.AAAA"):
            browser.cookies.set("kantor_session", cookie)
            assert browser.get("/api/v1/me").status_code == 401


def test_pages_and_api_say_from_when_the_view_is_complete(browser: TestClient, places: Places) -> None:
    """The home page, the end of a list, a transaction that began before, one that is not found; nothing, if nothing is
    missing."""
    api = "/api/v1/transactions"
    started = {one["transaction_id"]: one["started_at"] for one in browser.get(api).json()["transactions"]}
    for path in ("/", "/transactions", "/transactions/tx-completed", "/transactions/nope"):
        assert "may be missing" not in browser.get(path).text, path
    assert browser.get(api).json()["complete_from"] is None
    (after,) = {started["tx-running"]}
    writer = ViewWriter(places("pages"))
    writer.incomplete_before(int(datetime.fromisoformat(after).timestamp() * 1000))
    writer.close()
    for path in ("/", "/transactions", "/transactions/tx-completed", "/transactions/nope"):
        page = browser.get(path).text
        assert "may be missing or incomplete: Kafka no longer held their records" in page, path
        assert after[:19] in page.replace(" ", "T"), path
    assert "may be missing" not in browser.get("/transactions?limit=1").text, "there are more pages"
    assert "may be missing" not in browser.get("/transactions/tx-running").text, "it began after"
    assert browser.get(api).json()["complete_from"] == after
    assert browser.get(f"{api}/tx-completed").json()["complete_from"] == after
    assert browser.get(f"{api}/tx-running").json()["complete_from"] is None
    missing = browser.get(f"{api}/nope")
    assert missing.status_code == 404
    assert f"began before {after}" in missing.json()["detail"]


def test_a_transaction_of_which_a_decision_could_not_be_read_says_so(
    browser: TestClient, places: Places
) -> None:
    """On its page, in the list and in the API: it looks as if it was well."""
    assert "may be wrong" not in browser.get("/transactions/tx-completed").text
    why = "sys.kantor.history/1/7: schema id 7 is unknown to the registry; register its schema in the registry again"
    execute(
        places("pages"),
        f"UPDATE transactions SET unread = '{why}', last_error = 'see {why}' WHERE id = 'tx-completed'",
    )
    page = html.unescape(browser.get("/transactions/tx-completed").text)
    assert "This may be wrong" in page
    assert why in page
    assert "then <code>kantor view rebuild</code>" in page
    assert f"see {why}" in html.unescape(browser.get("/transactions").text)
    assert browser.get("/api/v1/transactions/tx-completed").json()["unread"] == why
    assert browser.get("/api/v1/transactions/tx-running").json()["unread"] is None


def test_a_page_whose_head_fails_is_still_served_and_it_is_said(
    browser: TestClient, backend: StoredBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """What stands in every page's head must not take the page with it, nor fail unheard."""

    def away() -> int:
        raise KantorError("the server is away")

    backend.complete_until = away  # type: ignore[method-assign]
    assert browser.get("/definitions").status_code == 200
    said = [r.getMessage() for r in caplog.records if r.__dict__.get("action") == "page_head_failed"]
    assert said == ["a page's head: the server is away"]


def test_lists_show_what_people_call_a_transaction(browser: TestClient) -> None:
    """The order's number below the id."""
    page = browser.get("/transactions?status=compensated").text
    assert re.search(r'class="known">[^\n]{0,40}order_id[^\n]{0,40}1042', page)


def test_an_incident_that_outlived_its_transaction_can_be_dealt_with(backend: StoredBackend) -> None:
    """A message that could not be read after the end: looked at again; there is nothing to cancel or close."""
    with backend.view() as view:
        ended = view.trace("tx-completed")
    assert story.possible_acts(ended) == []
    ended.remedies.extend([Remedy("retry", "", "it is read again"), Remedy("skip", "", "it is dropped")])
    shown = [(act.kind.name, act.means) for act in story.possible_acts(ended)]
    assert shown == [("retry", "It is read again."), ("skip", "It is dropped.")]


def test_the_pages_have_every_style_of_a_diagrams_text() -> None:
    """The page's own colours take the place of the picture's, so nothing of its layout may be forgotten."""
    sheet = (Path(story.__file__).parents[1] / "web" / "static" / "app.css").read_text(encoding="utf-8")
    layout = re.findall(
        r"^(\.[a-z]+)\{([^}]*)\}(\.[a-z]+)\{([^}]*)\}(\.[a-z]+)\{([^}]*)\}$", diagram_svg._STYLE, re.MULTILINE
    )
    assert len(layout) == 1
    rules = layout[0]
    for name, rule in zip(rules[::2], rules[1::2], strict=True):
        assert f".diagram {name}{{{rule}}}" in sheet, name
