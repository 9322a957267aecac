"""``--watch``: the same picture again whenever the view has changed."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import click

from kantor_orchestrator.cli.output import console, open_view
from kantor_orchestrator.view.queries import View

watch_option = click.option("--watch", is_flag=True, help="Refresh the output on every change, until Ctrl-C.")

#: Seconds between looks; the view itself is at most this much behind the engine.
_LOOK = 0.25
#: Seconds after which it is shown again, changed or not: what it says of durations grows old.
_AGAIN = 5.0


def shown(show: Callable[[View], bool], *, watching: bool) -> None:
    """Once, or with ``watching`` as :func:`watch` does. Raises ``NoViewError`` if there is no view."""
    if watching:
        watch(show)
        return
    with open_view() as view:
        show(view)


def watch(show: Callable[[View], bool], stop: Event | None = None) -> None:
    """``show`` draws the picture, and says whether nothing more will come. Ends then, at ``stop`` and with Ctrl-C.

    Raises ``NoViewError`` if there is no view."""
    stop = stop or Event()
    with open_view() as view:
        seen, age = -1, 0.0
        try:
            while not stop.is_set():
                changes = view.changes()
                if changes != seen or age >= _AGAIN:
                    seen, age = changes, 0.0
                    console().clear()  # does nothing where the output is no terminal
                    if show(view):
                        return
                stop.wait(_LOOK)
                age += _LOOK
        except KeyboardInterrupt:
            return
