"""What is exported, what the docs say of it, and what the alerts ask for are the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from kantor.metrics import Metrics
from kantor_orchestrator.api.metrics import ApiMetrics
from kantor_orchestrator.metrics import EngineMetrics, IntakeMetrics, RoleMetrics
from kantor_orchestrator.view.metrics import CensusMetrics, ViewMetrics

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "kantor.rules.yml"
CASES = ROOT / "deploy" / "prometheus" / "kantor.rules.test.yml"
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool") or ""
#: What a metric of each type is called beyond its name.
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def exported() -> Iterator[tuple[str, MetricWrapperBase]]:
    """Who exports it, and the metric."""
    registries = {}
    for who in ("every role", "intake", "engine", "view", "api", "services (kit)"):
        registries[who] = CollectorRegistry()
    RoleMetrics(registries["every role"], "intake", "1.0")
    IntakeMetrics(registries["intake"])
    EngineMetrics(registries["engine"])
    ViewMetrics(registries["view"])
    CensusMetrics(registries["view"])
    ApiMetrics(registries["api"])
    registries["services (kit)"] = Metrics().registry
    for who, registry in registries.items():
        for collector in registry._collector_to_names:
            if isinstance(collector, MetricWrapperBase):
                yield who, collector


def rows() -> list[str]:
    """The table of docs/metrics.md."""
    found = []
    for who, metric in exported():
        parent_labels = metric._labelnames
        name = metric._name + ("_total" if metric._type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in parent_labels)
        text = metric._documentation.rstrip(".")
        found.append(f"| `{name}` | {metric._type} | {labels} | {who} | {text} |")
    return found


def rules() -> list[dict[str, object]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def test_docs_name_every_metric_as_it_is_exported() -> None:
    """Name, type, labels, who exports it and its meaning; in the order of the code. To mend it: put these rows there."""
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `kantor_.*$", text, re.MULTILINE) == rows(), "\n" + "\n".join(rows())


def test_every_metric_has_a_base_unit_and_no_id_as_a_label() -> None:
    """A label has few values: a saga, a status, a topic, a message type, a role, a version, an outcome, a kind; of a request
    its route's template and its method."""
    few = {"saga", "status", "topic", "type", "role", "version", "outcome", "kind"}
    for who, metric in exported():
        assert set(metric._labelnames) <= few | ({"route", "method"} if who == "api" else set()), metric._name
        assert not re.search(r"_(ms|milliseconds|minutes|kib|mib)(_|$)", metric._name)
        assert metric._type != "histogram" or metric._name.endswith(("_seconds", "_entries"))


def test_alerts_ask_for_metrics_that_are_exported() -> None:
    """An alert on a name that nobody exports never fires."""
    names = {f"{metric._name}{suffix}" for _, metric in exported() for suffix in SUFFIXES[metric._type or ""]}
    asked = {name for rule in rules() for name in re.findall(r"\bkantor_\w+", str(rule["expr"]))}
    assert asked
    assert asked - names == set()


def test_every_alert_has_a_section_in_the_runbook_and_two_cases() -> None:
    """What to do, and one case in which it fires, one in which it does not."""
    alerts = [str(rule["alert"]) for rule in rules()]
    text = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (Kantor\w+)$", text, re.MULTILINE) == alerts
    cases = [case["name"] for case in yaml.safe_load(CASES.read_text())["tests"]]
    assert sorted(cases) == sorted(f"{a} {what}" for a in alerts for what in ("fires", "is silent"))
    for rule in rules():
        assert isinstance(rule["annotations"], dict)
        assert rule["annotations"]["runbook"] == f"docs/alerts.md#{str(rule['alert']).lower()}"
        section = text.split(f"## {rule['alert']}\n\n")[1]
        assert isinstance(rule["labels"], dict)
        assert section.startswith(f"`{rule['labels']['severity']}`.")


@pytest.mark.skipif(
    not PROMTOOL, reason="there is no promtool here: install Prometheus, or name it in PROMTOOL"
)
@pytest.mark.parametrize("what", [["check", "rules", RULES.name], ["test", "rules", CASES.name]])
def test_promtool_finds_nothing(what: list[str]) -> None:
    """The rules are well formed, and fire when they should and only then."""
    done = subprocess.run(
        [PROMTOOL, *what], cwd=RULES.parent, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
