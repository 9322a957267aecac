"""Kantor beside its peers: ratios, Kantor's number over the peer's.

Everything of Kantor counts: its broker, the view, the services and the shop that places the orders; of Restate its server
and the service, but not the process that starts the sagas.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.ends import BenchError
from bench.peers import installed

_TESTS = Path(__file__).resolve().parents[2]

#: By name: where Kantor's number is, and where the peer's.
RATIOS: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "ratio_A": (("A", "sagas_per_s"), ("A", "sagas_per_s")),
    "ratio_B": (("B", "sagas_per_s"), ("B", "sagas_per_s")),
    "ratio_cpu": (("A", "cpu_s_per_1000"), ("A", "cpu_s_per_1000")),
    "ratio_p50": (("latency_at_20_per_s", "announced_p50_ms"), ("latency_at_20_per_s", "p50_ms")),
    "ratio_p99": (("latency_at_20_per_s", "announced_p99_ms"), ("latency_at_20_per_s", "p99_ms")),
}


def measure(kantor: Mapping[str, Any], size: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """``kantor``: what was measured in this run. A peer that can't be had is said, and left out: ``skipped`` says why."""
    try:
        peer = installed.restate(say)
    except installed.MissingError as error:
        say(f"no Restate to compare with: {error}")
        return {"restate": {"skipped": str(error)}}
    say(f"Restate: {size['repeat']} times {size['seconds']:g} s of A and of B")
    restate = _restate(peer, size)
    return {"restate": restate} | ratios(kantor, restate)


def ratios(kantor: Mapping[str, Any], peer: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: round(kantor[ours[0]][ours[1]] / peer[theirs[0]][theirs[1]], 3)
        for name, (ours, theirs) in RATIOS.items()
    }


def _restate(peer: installed.Restate, size: Mapping[str, Any], timeout: float = 1800.0) -> dict[str, Any]:
    command = [
        str(peer.python),
        "-m",
        "bench.peers.restate_load",
        str(peer.server),
        json.dumps(size),
    ]
    environment = os.environ | {"PYTHONPATH": str(_TESTS)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            said, trouble = process.communicate(timeout=timeout)
        except BaseException:
            # It ends the server and the service itself.
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            raise
    if process.returncode != 0:
        raise BenchError(f"Restate: {trouble.decode(errors='replace').strip()[-1500:]}")
    results: dict[str, Any] = json.loads(said.splitlines()[-1])
    return results | {"version": installed.SERVER.rpartition("@")[2]}
