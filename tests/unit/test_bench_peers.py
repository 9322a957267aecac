"""The benchmark's comparison with peers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.peers import comparison, installed


def results(a: float, b: float, cpu: float, **latency: float) -> dict[str, Any]:
    return {
        "A": {"sagas_per_s": a, "cpu_s_per_1000": cpu},
        "B": {"sagas_per_s": b},
        "latency_at_20_per_s": latency,
    }


def test_ratios_are_kantors_number_over_the_peers() -> None:
    """Of Kantor's latencies those to the announcement count."""
    kantor = results(3_000, 1_600, 0.6, p50_ms=1, p99_ms=1, announced_p50_ms=9, announced_p99_ms=20)
    peer = results(1_000, 800, 1.5, p50_ms=12, p99_ms=16)
    assert comparison.ratios(kantor, peer) == {
        "ratio_A": 3.0,
        "ratio_B": 2.0,
        "ratio_cpu": 0.4,
        "ratio_p50": 0.75,
        "ratio_p99": 1.25,
    }


def test_without_npm_the_peer_is_left_out_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No ratio is made up."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    reason = "npm is not installed, and Restate comes by npm"
    assert comparison.measure({}, {}, said.append) == {"restate": {"skipped": reason}}
    assert said == [f"no Restate to compare with: {reason}"]


def test_a_registry_that_does_not_answer_leaves_the_peer_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What npm said last is the reason; nothing half-fetched is used the next time."""
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network nobody there' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    for _ in range(2):
        with pytest.raises(installed.MissingError, match="nobody there"):
            installed.restate(lambda _: None)
