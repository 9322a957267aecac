"""The pages in a real browser, over a real platform: what a person does, by keyboard too; axe finds nothing.

Chromium is the system's (``CHROMIUM``, or what is on the path). KANTOR_SCREENSHOTS names a folder for pictures of the pages.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import APIResponse, Browser, Page, Route, expect, sync_playwright

from e2e.stack import Stack
from kantor.envelope import command_id
from waiting import PATIENCE

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(
        None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))
    ),
    "",
)
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
#: Milliseconds that the browser waits for what it shall see.
SOON = PATIENCE * 1_000
expect.set_options(timeout=SOON)

needs_browser = pytest.mark.skipif(
    not CHROMIUM, reason="there is no Chromium here: install one, or name it in CHROMIUM"
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Eight completed orders, one that was refused (1042), one whose refund was given up (1043), three that wait."""
    stack = Stack(tmp_path_factory.mktemp("pages"))
    try:
        stack.start()
        for number in range(8):
            stack.completed(f"done-{number}", 1030 + number)
        stack.refused("refused", 1042, "<b>too large</b> for a parcel: piano")
        stack.refunded("refused")
        stack.await_status("refused", "compensated")
        stack.refused("stranded", 1043, "no truck")
        for number in range(3):
            stack.order(f"waiting-{number}", 1050 + number)
            stack.await_step(f"waiting-{number}", "stock", "active")
        stack.stranded("stranded")
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, stack: Stack) -> Iterator[Page]:
    """A page that must not complain, nor ask anybody else."""
    page, complaints = watched(chromium, stack)
    yield page
    page.context.close()
    assert complaints == []


def watched(chromium: Browser, stack: Stack, **options: Any) -> tuple[Page, list[str]]:
    context = chromium.new_context(base_url=stack.url, **options)
    page = context.new_page()
    page.set_default_timeout(SOON)
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith(stack.url) else complaints.append(f"asks {r.url}"))
    return page, complaints


def picture(page: Page, name: str) -> None:
    folder = os.environ.get("KANTOR_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


@needs_browser
def test_an_order_is_found_by_its_number_with_keys_alone(page: Page) -> None:
    """One field, Enter, and there is the reason why it failed, as text whatever it says."""
    page.goto("/transactions")
    page.keyboard.press("g")
    page.keyboard.press("h")
    page.wait_for_url("**/")
    page.keyboard.press("/")
    page.keyboard.type("1042")
    page.keyboard.press("Enter")
    page.wait_for_url("**/transactions/refused")
    expect(page.locator("h1")).to_contain_text("compensated")
    expect(page.locator(".head")).to_contain_text("<b>too large</b> for a parcel: piano")
    assert page.locator(".head b", has_text="too large").count() == 0
    picture(page, "transaction")


@needs_browser
def test_a_message_is_read_from_kafka_when_it_is_opened(page: Page) -> None:
    """Decoded, with headers and hex."""
    page.goto("/transactions/refused")
    page.locator(".timeline summary").first.focus()
    page.keyboard.press("Enter")
    message = page.locator(".timeline .message").first
    expect(message.locator("pre").first).to_contain_text('"order_id": "1042"')
    message.locator("summary", has_text="headers").click()
    expect(message.locator(".headers")).to_contain_text("ce_correlationid")
    message.locator("summary", has_text="Hex").click()
    expect(message.locator(".hex")).to_contain_text("00000000")


@needs_browser
def test_a_page_changes_while_somebody_looks(page: Page, stack: Stack) -> None:
    """Without a reload; what was opened stays open."""
    page.goto("/transactions/waiting-0")
    expect(page.locator(".steps")).to_contain_text("active")
    page.locator(".timeline summary").first.click()
    expect(page.locator(".timeline .message pre").first).to_be_visible()
    page.evaluate("window.stayed = true")
    stack.say("inventory.StockReserved", "waiting-0", order_id="1050")
    expect(page.locator(".timeline")).to_contain_text("inventory.StockReserved")
    expect(page.locator(".timeline details").first).to_have_attribute("open", "")
    assert page.evaluate("window.stayed") is True


def told(page: Page) -> str:
    """Playwright's own waiting evaluates text within the page, which the pages' policy refuses."""
    page.wait_for_timeout(50)  # the browser is heard meanwhile
    return str(page.evaluate("window.told || ''"))


@needs_browser
def test_a_change_while_the_page_is_refreshed_is_shown_too(page: Page, stack: Stack) -> None:
    """The answer to the refresh that is under way does not know of it."""
    stack.paid("hurried", 1060)
    page.goto("/transactions/hurried")
    page.evaluate(
        "new EventSource(document.body.dataset.live).addEventListener('changed', (event) => { window.told = event.data; })"
    )
    stack.until(lambda: told(page) != "", "the page hears of changes")
    expect(page.locator("#now-live")).to_be_visible()
    held: list[tuple[Route, APIResponse]] = []

    def hold(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append((route, route.fetch()))

    def asks() -> bool:
        page.wait_for_timeout(50)  # the browser is heard meanwhile
        return bool(held)

    page.route(re.compile(r"/transactions/hurried\?shown="), hold)
    asked = command_id("hurried", "shipping", "action", 1, 1)
    stack.say("shipping.ShipmentUnavailable", "hurried", asked, order_id="1060", reason="no truck")
    stack.until(asks, "the page asks for the change")
    stack.await_step("hurried", "payment", "compensating")
    stack.refunded("hurried")
    stack.await_status("hurried", "compensated")
    stack.until(lambda: '"compensated"' in told(page), "the page hears of the end")
    route, answer = held[0]
    route.fulfill(response=answer)
    expect(page.locator("h1")).to_contain_text("compensated")


@needs_browser
def test_an_incident_is_retried_and_ends_well(page: Page, stack: Stack) -> None:
    """From the list of incidents, with a reason, with keys alone; and the end is seen live."""
    page.goto("/incidents")
    picture(page, "incidents")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/transactions/stranded")
    expect(page.locator("[role=alert]").first).to_contain_text("Needs a person")
    picture(page, "incident")
    page.locator("details.act summary", has_text="Retry").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("the bank is back")
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_contain_text("compensation sent")
    stack.refunded("stranded", round_=2)
    expect(page.locator("h1")).to_contain_text("compensated")
    expect(page.locator(".timeline")).to_contain_text("by local")


@needs_browser
def test_many_are_cancelled_after_they_were_counted(page: Page, stack: Stack) -> None:
    """Count and sample come first; then exactly those are acted on."""
    page.goto("/transactions?status=running&service=inventory")
    page.select_option("#bulk-act", "cancel")
    page.get_by_role("button", name="Count them first…").click()
    expect(page.locator("h1")).to_have_text("Cancel 2 transactions")
    expect(page.locator("table")).to_contain_text("waiting-1")
    picture(page, "bulk")
    page.get_by_label("Why").fill("the warehouse is closed")
    page.get_by_role("button", name="Cancel these 2").click()
    expect(page.locator("main")).to_contain_text("done to 2")
    for transaction in ("waiting-1", "waiting-2"):
        stack.await_step(transaction, "stock", "compensating")


@needs_browser
@pytest.mark.parametrize("look", ["light", "dark", "narrow"])
def test_axe_finds_nothing(chromium: Browser, stack: Stack, look: str) -> None:
    """On every page, bright, dark and narrow; nothing is wider than the window."""
    width = 390 if look == "narrow" else 1280
    scheme = "dark" if look == "dark" else "light"
    page, complaints = watched(chromium, stack, color_scheme=scheme, viewport={"width": width, "height": 900})
    pages = {
        "home": "/", "list": "/transactions", "filtered": "/transactions?status=compensated", "none": "/transactions?q=zzzzz",
        "transaction": "/transactions/refused", "open": "/transactions/waiting-0", "incidents": "/incidents",
        "definitions": "/definitions", "definition": "/definitions/checkout/1",
    }  # fmt: skip
    for name, path in pages.items():
        page.goto(path)
        if name == "transaction":
            page.locator(".timeline summary").first.click()
            page.locator(".message pre").first.wait_for()
        page.evaluate(AXE)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        assert [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found] == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        if look != "light" or name in ("home", "list", "definition"):
            picture(page, name if look == "light" else f"{name}-{look}")
    page.context.close()
    assert complaints == []


#: What a right request may be answered with: as the data is, it may be not there, not possible, or not yet done.
ANSWERS = ["2xx", "400", "401", "403", "404", "409", "410", "503"]


@pytest.mark.parametrize("about", ["anything", "a real transaction"])
def test_schemathesis_finds_nothing(stack: Stack, tmp_path: Path, about: str) -> None:
    """The API does what its description says, whatever it is asked; streams aside, which do not end. What is about one
    transaction is asked once more about one that there is."""
    topic, partition, offset = stack.get("/transactions/refused")["timeline"][0]["origin"].split("/")
    real = {"transaction_id": "refused", "topic": topic, "partition": int(partition), "offset": int(offset)}
    fixed: dict[str, Any] = {"query.wait": "20ms"}  # of a transaction that is not there it is all waited
    only = []
    if about != "anything":  # the others would be asked the same again, word by word
        fixed |= {f"path.{name}": value for name, value in real.items()}
        only = ["--include-path-regex", "transaction_id"]
    config = tmp_path / "schemathesis.toml"
    config.write_text(
        "[parameters]\n"
        + "".join(f'"{name}" = {json.dumps(value)}\n' for name, value in fixed.items())
        + f"[checks]\npositive_data_acceptance.expected-statuses = {ANSWERS}\n"
        # A filter that names nothing is refused: nothing is done to every transaction there is.
        + '[[operations]]\ninclude-path = "/api/v1/bulk/count"\n'
        + f"checks.positive_data_acceptance.expected-statuses = {[*ANSWERS, '422']}\n"
    )
    done = subprocess.run(
        [
            sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "--config-file", str(config),
            "run", f"{stack.url}/api/v1/openapi.json", "--exclude-path-regex", "/events$", *only, "--max-examples", "20",
            "--seed", "7", "--request-timeout", str(PATIENCE), "--suppress-health-check", "too_slow", "--phases", "examples,coverage,fuzzing",
        ],
        capture_output=True, text=True, check=False, timeout=900, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
