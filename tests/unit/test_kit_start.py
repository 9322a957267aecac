"""A service that can't start says why in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SERVICE = """
import sys
from kantor import Service, SqliteStore
from kantor_examples.checkout.messages import OrderPlaced

service = Service("quiet", store=SqliteStore(sys.argv[1]))

@service.on(OrderPlaced)
def hear(_: OrderPlaced) -> None: ...

service.run()
"""


def run(store: Path, **settings: str) -> tuple[int, str]:
    """The exit code and what was said on stderr; of Kantor's settings only these."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("KANTOR_")}
    ended = subprocess.run(
        [sys.executable, "-c", SERVICE, str(store)],
        env=mine | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "no Kafka address: set KANTOR_BOOTSTRAP_SERVERS"),
        ({"KANTOR_LOG": "xml"}, "KANTOR_LOG='xml' is not a log format; set it to text or json"),
        (
            {"KANTOR_LOG_LEVEL": "LOUD"},
            "KANTOR_LOG_LEVEL='LOUD' is not a log level; set it to DEBUG, INFO, WARNING or ERROR",
        ),
        (
            {"KANTOR_BOOTSTRAP_SERVERS": "127.0.0.1:1", "KANTOR_KAFKA_ENABLE_AUTO_COMMIT": "true"},
            "KANTOR_KAFKA_ENABLE_AUTO_COMMIT: enable.auto.commit is set by Kantor",
        ),
        (
            {"KANTOR_BOOTSTRAP_SERVERS": "127.0.0.1:1", "KANTOR_HTTP_PORT": "abc"},
            "KANTOR_HTTP_PORT='abc' is not a port",
        ),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(
    settings: dict[str, str], said: str, tmp_path: Path
) -> None:
    """No traceback: whoever starts the service reads what is wrong."""
    code, errors = run(tmp_path / "store.db", **settings)
    assert errors.splitlines()[-1].startswith(f"quiet: {said}")
    assert (code, "Traceback" in errors) == (2, False)


def test_a_store_that_can_not_be_opened_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    """The settings are right."""
    (tmp_path / "store.db").write_bytes(b"this is no database" * 100)
    code, errors = run(tmp_path / "store.db", KANTOR_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert errors.splitlines()[-1].startswith(f"quiet: the store {tmp_path}/store.db: ")
    assert (code, "Traceback" in errors) == (1, False)
