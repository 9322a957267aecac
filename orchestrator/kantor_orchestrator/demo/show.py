"""What people see while the demo runs: a line that moves on a terminal, plain lines elsewhere. All on stderr."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

#: Seconds between two lines about the same phase where there is no terminal: enough to see that it moves.
_PLAIN = 5.0
_STYLES = {"completed": "green", "compensated": "yellow", "compensating": "yellow", "running": "cyan"}
_WIDTH = 40


class Show:
    """The phase, the time and the counts by status. One thread."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._counts: Mapping[str, int] = {}
        self._total = 0
        self._next = 0.0
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.freeze()

    def freeze(self) -> None:
        """Nothing moves from here on: others may write to the terminal."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(Text(f"{self.elapsed:6.1f} s  {text}"), soft_wrap=True)

    def phase(self, text: str) -> None:
        self._next = time.monotonic() + _PLAIN
        self.say(text)

    def counts(self, counts: Mapping[str, int], total: int) -> None:
        """How many transactions there are by status, of how many in the end."""
        changed = counts != self._counts
        self._counts, self._total = counts, total
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(self._moving(), refresh=True)
        elif changed and time.monotonic() > self._next:
            self._next = time.monotonic() + _PLAIN
            self.say(", ".join(f"{count} {status}" for status, count in sorted(counts.items())))

    def _moving(self) -> Table:
        line = Table.grid(padding=(0, 2))
        bar = Text()
        for status in ("completed", "compensated", "compensating", "running"):
            share = _WIDTH * self._counts.get(status, 0) / max(1, self._total)
            bar.append("━" * round(share), style=_STYLES[status])
        bar.append("╺" * max(0, _WIDTH - len(bar)), style="dim")
        facts = Text("  ").join(
            Text(f"{count} {status}", style=_STYLES.get(status, "magenta"))
            for status, count in sorted(self._counts.items())
        )
        line.add_row(Text(f"{self.elapsed:6.1f} s"), bar, facts)
        return line
