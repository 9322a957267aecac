"""Starts Restate and its service, loads them, prints what came out as one line of JSON. Runs in the peer's environment.

python -m bench.peers.restate_load SERVER '{"seconds": 25, "repeat": 3, "sweep": [128, 256], "latency_seconds": 30}'
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import uvloop

from bench.peers.load import Start, at_rate, closed, cpu_seconds, family
from bench.stats import median, percentile

#: Sagas a second while latency is measured, as in ``bench.latency``.
RATE = 20.0
_WARM_UP = 300
#: Seconds for everything to listen.
_START = 60.0


class Ports:
    def __init__(self) -> None:
        with ExitStack() as held:
            sockets = [held.enter_context(socket.socket()) for _ in range(4)]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            self.ingress, self.admin, self.node, self.service = (one.getsockname()[1] for one in sockets)


@contextmanager
def running(server: str, folder: Path, ports: Ports) -> Iterator[list[int]]:
    """Restate with one partition, its service behind granian: the pids of both. Nothing is left at the end."""
    restate = {
        "INGRESS__BIND_PORT": ports.ingress,
        "ADMIN__BIND_PORT": ports.admin,
        "BIND_PORT": ports.node,
        "BIND_IP": "127.0.0.1",
        "LISTEN_MODE": "tcp",
        "ADVERTISED_HOST": "127.0.0.1",
        "DISABLE_TELEMETRY": "true",
        "LOG_FILTER": "error",
        "DEFAULT_NUM_PARTITIONS": 1,
    }
    environment = dict(os.environ) | {f"RESTATE_{name}": str(value) for name, value in restate.items()}
    granian = ["-m", "granian", "--interface", "asgi", "--http", "2", "--workers", "1", "--loop", "uvloop"]
    address = ["--host", "127.0.0.1", "--port", str(ports.service), "--no-ws", "bench.peers.restate_app:app"]
    commands = [
        [server, "--no-logo", "--base-dir", str(folder / "data")],
        [sys.executable, *granian, *address],
    ]
    with (folder / "log").open("wb") as log:
        started = [subprocess.Popen(c, env=environment, stdout=log, stderr=log) for c in commands]
        try:
            yield [process.pid for process in started]
        finally:
            all_ = list(family([process.pid for process in started]))
            for process in started:
                process.terminate()
            _, left = psutil.wait_procs(all_, 10)
            for outlived in left:
                with suppress(psutil.NoSuchProcess):
                    outlived.kill()
            for process in started:
                process.wait(10)


async def ready(http: aiohttp.ClientSession, ports: Ports) -> Start:
    """What runs a saga, once Restate knows the service and carries one out."""
    body = {"uri": f"http://127.0.0.1:{ports.service}", "use_http_11": False}

    async def run(order: dict[str, Any]) -> list[str]:
        url = f"http://127.0.0.1:{ports.ingress}/Checkout/{order['id']}/run"
        async with http.post(url, json=order) as answer:
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {await answer.text()}")
            trail: list[str] = await answer.json()
            return trail

    deadline, trouble = time.monotonic() + _START, "nothing"
    while time.monotonic() < deadline:
        try:
            async with http.post(f"http://127.0.0.1:{ports.admin}/deployments", json=body) as answer:
                if answer.status < 300:
                    await closed(run, "A", 1, 1)
                    return run
                trouble = await answer.text()
        except (aiohttp.ClientError, RuntimeError) as error:
            trouble = str(error)
        await asyncio.sleep(0.5)
    raise RuntimeError(f"Restate is not ready after {_START:.0f} s: {trouble}")


async def measured(start: Start, pids: list[int], size: Mapping[str, Any]) -> dict[str, Any]:
    for case in ("A", "B"):
        await closed(start, case, _WARM_UP, 32)
    sweep: dict[int, float] = {}
    rate = 200.0
    for concurrency in size["sweep"]:
        found = await closed(start, "A", max(2 * concurrency, int(rate * size["seconds"] / 5)), concurrency)
        rate = sweep[concurrency] = found.per_s
    best = max(sweep, key=lambda concurrency: sweep[concurrency])
    results: dict[str, Any] = {"concurrency": best}
    for case in ("A", "B"):
        results[case] = await throughput(start, pids, case, best, sweep[best], size)
    await asyncio.sleep(1)
    found = await at_rate(start, "A", RATE, size["latency_seconds"])
    milliseconds = [latency * 1000 for latency in found.latencies]
    results["latency_at_20_per_s"] = {
        "p50_ms": round(percentile(milliseconds, 0.5), 2),
        "p99_ms": round(percentile(milliseconds, 0.99), 2),
        "orders": len(milliseconds),
    }
    return results


async def throughput(
    start: Start, pids: list[int], case: str, concurrency: int, rate: float, size: Mapping[str, Any]
) -> dict[str, Any]:
    """The medians; CPU is the server's and the service's, that of this process, which starts the sagas, apart."""
    rates, cpu, starter = list[float](), list[float](), list[float]()
    for _ in range(size["repeat"]):
        before, own = cpu_seconds(pids), time.process_time()
        found = await closed(start, case, max(50, int(rate * size["seconds"])), concurrency)
        thousands = len(found.latencies) / 1000
        rate = found.per_s
        rates.append(rate)
        cpu.append((cpu_seconds(pids) - before) / thousands)
        starter.append((time.process_time() - own) / thousands)
    return {
        "sagas_per_s": round(median(rates), 1),
        "cpu_s_per_1000": round(median(cpu), 3),
        "starter_cpu_s_per_1000": round(median(starter), 3),
        "runs_per_s": [round(one, 1) for one in rates],
    }


async def main(server: str, size: Mapping[str, Any]) -> None:
    ports = Ports()
    with tempfile.TemporaryDirectory(prefix="kantor-peer-") as name:
        folder = Path(name)
        try:
            with running(server, folder, ports) as pids:
                connector = aiohttp.TCPConnector(limit=0)
                async with aiohttp.ClientSession(connector=connector) as http:
                    start = await ready(http, ports)
                    print(json.dumps(await measured(start, pids, size)))
        except BaseException:
            print((folder / "log").read_text(errors="replace")[-2000:], file=sys.stderr)
            raise


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    uvloop.run(main(sys.argv[1], json.loads(sys.argv[2])))
