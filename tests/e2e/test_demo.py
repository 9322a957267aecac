"""``make demo``: the proof holds, and no process is left behind."""

from __future__ import annotations

import re
import signal
import urllib.request

import pytest

from e2e.demos import Demo


def test_no_order_is_half_done(demo: Demo) -> None:
    """With ONCE=1 the demo ends by itself, with the proof, both traces and exit code 0; nothing is left running."""
    demo.start(40, once=True)
    code = demo.wait()
    said = demo.said()
    assert code == 0, said
    assert "NO ORDER IS HALF DONE: 40 orders" in said
    assert "One completed transaction" in said
    assert "One compensated transaction" in said
    assert "Back again, it booked none of them." in said
    assert demo.processes() == []


def test_it_stays_up_until_somebody_ends_it(demo: Demo) -> None:
    """Without ONCE everything stays up for exploring, and Ctrl-C then is the normal end: the exit code is the proof's."""
    demo.start(20)
    demo.await_text(demo.out, "It all stays up until Ctrl-C")
    assert len(demo.processes()) >= 10  # demo, guard, Kafka, kantor run and its four roles, services
    pages = re.search(r"in a browser: (http://127\.0\.0\.1:\d+)", demo.out.read_text())
    assert pages
    with urllib.request.urlopen(f"{pages[1]}/transactions?status=compensated") as answer:
        assert "/transactions/" in answer.read().decode()
    demo.signal(signal.SIGINT)
    assert demo.wait() == 0, demo.said()
    assert demo.processes() == []


@pytest.mark.parametrize("moment", ["Starting Apache Kafka", "Starting the platform", "more orders"])
def test_ctrl_c_leaves_no_process_behind(demo: Demo, moment: str) -> None:
    """At whatever moment it comes."""
    demo.start(20)
    demo.await_text(demo.err, moment)
    demo.signal(signal.SIGINT)
    assert demo.wait() == 130, demo.said()
    assert demo.processes() == []


def test_even_a_killed_demo_leaves_no_process_behind(demo: Demo) -> None:
    """After kill -9, which nobody can catch, the guard does what the demo could not."""
    demo.start(20)
    demo.await_text(demo.err, "Placing")
    demo.signal(signal.SIGKILL)
    demo.wait()
    demo.await_no_processes()
