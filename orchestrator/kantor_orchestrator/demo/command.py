"""One demo in one folder, from an empty start to nothing left running."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rich.console import Console

from kantor.kafka import ENV_BOOTSTRAP
from kantor_examples.checkout import orders
from kantor_examples.checkout.accounting import Books
from kantor_examples.checkout.data import ENV_DATA
from kantor_orchestrator.config import ADDRESS_FILE
from kantor_orchestrator.demo import children, ending, results
from kantor_orchestrator.demo.children import DemoError
from kantor_orchestrator.demo.guard import clean, guarded
from kantor_orchestrator.demo.run import Running
from kantor_orchestrator.demo.show import Show
from kantor_orchestrator.demo.story import Story
from kantor_orchestrator.dev.broker import DevBroker
from kantor_orchestrator.dev.errors import DevError
from kantor_orchestrator.dev.progress import BarProgress, PlainProgress

#: Settings that are meant for one process, or for another view.
_NOT_OURS = (
    "KANTOR_HTTP_PORT", "KANTOR_INSTANCE", "KANTOR_VIEW_URL", "KANTOR_API_ADDRESS", "KANTOR_API_TOKENS", "KANTOR_API_TLS_CERT",
    "KANTOR_API_TLS_KEY", "KANTOR_API_HOSTS",
)  # fmt: skip


def demo(home: Path, count: int, *, once: bool) -> int:
    """The exit code: 0 if no order is half done. ``once``: stop when that is known, instead of at a signal.

    Raises ``DemoError`` or ``KantorError`` if that can't be found out, ``Interrupted``; nothing is left running then.
    """
    if home.exists() and any(home.iterdir()) and children.last_mark(home) is None:
        raise DemoError(
            f"{home} is not empty, and does not belong to a demo. Its data would be deleted: give another --home."
        )
    home.mkdir(parents=True, exist_ok=True)
    external = os.environ.get(ENV_BOOTSTRAP) or None
    with _alone(home):
        _empty(home, external)
        mark = children.new_mark(home)
        with guarded(mark):
            for name in _NOT_OURS:
                os.environ.pop(name, None)
            os.environ |= {
                children.ENV_MARK: mark,
                "KANTOR_HOME": str(home),
                ENV_DATA: str(home / "checkout"),
            }
            with Show(Console(stderr=True, highlight=False)) as show:
                try:
                    return _demo(home, count, external, show, once=once)
                finally:
                    ending.be_deaf()
                    for left in children.sweep(mark):
                        show.say(f"had to end a leftover process: {left}")


def _demo(home: Path, count: int, external: str | None, show: Show, *, once: bool) -> int:
    progress = BarProgress() if sys.stderr.isatty() else PlainProgress(show.say)
    running = Running(home, external, show, progress)
    out = Console(highlight=False)
    # What the clients in this process have to say: nothing that the people who watch need.
    logging.basicConfig(filename=home / "logs" / "demo.log", level=logging.INFO, force=True)
    try:
        running.start()
        # On a cluster that stays, orders of two demos are told apart.
        planned = orders.plan(count, prefix=f"{secrets.token_hex(2)}-" if external else "")
        story = Story(running, show, planned)
        story.tell()
        show.phase("Everything has settled; counting")
        show.freeze()
        with closing(story.watch) as watch:
            proven = results.show(out, planned, Books.read(running.data), watch)
        show.say("Done")
        if not once:
            _explore(out, home, external, planned[0].order.order_id, running.pages())
        return 0 if proven else 1
    finally:
        ending.be_deaf()
        try:
            show.phase("Stopping services, platform and broker")
        finally:  # also if there is no terminal any more to say it on
            running.stop()
        show.say(f"Everything is stopped. Logs: {_from_here(home / 'logs')}")


def _explore(out: Console, home: Path, external: str | None, order_id: str, pages: str) -> None:
    """Until a signal comes."""
    settings = f"KANTOR_HOME={_from_here(home)}" + (f" {ENV_BOOTSTRAP}={external}" if external else "")
    program = _from_here(Path(sys.executable).parent / "kantor")
    out.print(f"\nSee it all in a browser: {pages}", soft_wrap=True)
    out.print("\nIt all stays up until Ctrl-C. From another terminal:")
    for command in (f"trace order_id={order_id}", "list --status compensated", "status"):
        out.print(f"  {settings} {program} {command}", soft_wrap=True)
    try:
        while True:
            time.sleep(1)
    except ending.Interrupted:
        pass


def _from_here(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """The only demo in this folder. Raises ``DemoError`` if there is another."""
    with (home / "demo.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError(
                f"A demo is already running in {home}. End it with Ctrl-C, or give this one --home."
            ) from error
        yield


def _empty(home: Path, external: str | None) -> None:
    """End what the last demo may have left behind, and delete its data, so that the count starts at nothing."""
    last = children.last_mark(home)
    if last is not None:
        clean(last)
    if external is None:
        try:
            DevBroker(home).reset()
        except DevError:  # written by another version of Kantor, perhaps; whatever ran there is ended
            shutil.rmtree(home / "kafka", ignore_errors=True)
    for name in ("checkout", "logs", "store"):
        shutil.rmtree(home / name, ignore_errors=True)
    for path in [*home.glob("view.db*"), *home.glob(ADDRESS_FILE)]:
        path.unlink()
    (home / "checkout").mkdir()
