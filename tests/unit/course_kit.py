"""The course (docs/sagas.md, docs/sagas-people.md) as data: its definitions, and its stories as something that can be played.

A story is a bold ``**Story: ...**`` and the table below it. Each row says what happens, what Kantor sends then, and where the
transaction stands; ``play`` takes the row through the real ``decide`` and ``evolve``. The notation is explained to readers in
the first page itself ("How to read the stories"); whatever a row says beyond it is an error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import fastavro
import yaml

import kantor_schemas
from kantor.envelope import TRANSACTION_ENDED
from kantor_orchestrator.core.saga import Saga, definition_path
from kantor_orchestrator.core.transaction import SentCommand
from kantor_orchestrator.definitions import durations, yaml_source
from kantor_orchestrator.definitions.check import check
from kantor_orchestrator.definitions.children import children_of
from kantor_orchestrator.definitions.compile import compile_saga
from kantor_orchestrator.definitions.own_messages import with_own
from kantor_orchestrator.definitions.reading import Reading
from kantor_schemas import Catalog, Schema
from unit.core_kit import DEPLOYED, Story
from unit.saga_kit import act
from unit.test_definitions_ten import TEN, TOGETHER

HEADER = ("What happens", "Kantor sends", "The transaction")
#: A child's end carries what the child returns beside its own fields.
_ENDED = {field["name"] for field in kantor_schemas.system("TransactionEnded")["fields"]}
_CASE = re.compile(r"\(\.\./services/kantor_examples/ten/(\w+)\.yaml\)")
_WHOLE = re.compile(r"saga: (\w+)\n")
_REMARK = re.compile(r" \([^()`]+\)")
_EVENT = re.compile(r"`(?P<type>\w+)`(?: for `(?P<step>[^`]+)`)?(?: with `(?P<fields>[^`]+)`)?")
_TIME = re.compile(r"nothing for `(?P<time>\w+)`")
_ACT = re.compile(r"`kantor (?P<act>retry|skip|cancel|close)(?: --step (?P<step>[^`]+))?`")
_SENT = re.compile(r"(?:(?P<times>\d+) × )?`(?P<type>\w+)`(?: with `(?P<fields>[^`]+)`)?")
_STANDS = re.compile(r"(?P<status>[a-z]+)(?:: (?P<steps>.+?))?(?P<incident>; an incident)?")
_STEP = re.compile(r"`(?P<path>[^`]+)` (?P<status>[a-z ]+)")


@dataclass(frozen=True)
class Row:
    place: str  # page:line
    happens: str
    sends: str
    stands: str


@dataclass(frozen=True)
class Told:
    """A story as the page tells it: of which saga, written how."""

    title: str
    saga: str
    definition: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Excerpt:
    """A block of YAML, and the shipped saga that it is from."""

    place: str  # page:line
    saga: str
    text: str

    def __str__(self) -> str:
        return self.place

    @property
    def is_whole(self) -> bool:
        return self.text.startswith("saga: ")


def shipped(saga: str) -> str:
    return (TEN / f"{saga}.yaml").read_text(encoding="utf-8")


def read(page: Path) -> tuple[list[Excerpt], list[Told]]:
    """What the page shows, and what it tells. A story is played by the definition that was last shown or linked above it."""
    excerpts: list[Excerpt] = []
    stories: list[Told] = []
    saga = definition = ""
    lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
    number = 0
    while number < len(lines):
        line = lines[number]
        if line.startswith("```yaml"):
            end = lines.index("```\n", number)
            text = "".join(lines[number + 1 : end])
            if whole := _WHOLE.match(text):
                saga, definition = whole[1], text
            excerpts.append(Excerpt(f"{page.name}:{number + 1}", saga, text))
            number = end
        elif line.startswith("**Story: "):
            rows = tuple(_rows(page.name, lines, number + 2))
            stories.append(Told(line.strip().removeprefix("**Story: ").rstrip("*"), saga, definition, rows))
            number += len(rows) + 3
        elif linked := _CASE.search(line):
            saga = linked[1]
            definition = shipped(saga)
        number += 1
    return excerpts, stories


def _rows(page: str, lines: list[str], first: int) -> Iterator[Row]:
    assert _cells(lines[first]) == HEADER, f"{page}:{first + 1}: a story's table begins with {HEADER}"
    for number in range(first + 2, len(lines)):
        if not lines[number].startswith("|"):
            return
        yield Row(f"{page}:{number + 1}", *_cells(lines[number]))


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip().strip("|").split("|"))


# -- a saga


def schemas_of(saga: str) -> dict[str, Schema]:
    names = [saga, *TOGETHER.get(saga, [])]
    return {type_: s for name in names for type_, s in kantor_schemas.example(f"ten/{name}").items()}


def problems(saga: str, text: str) -> list[str]:
    """What lint objects to, together with the children that the saga starts."""
    reading = _read([text, *map(shipped, TOGETHER.get(saga, []))])
    return [str(problem) for problem in reading.problems + check(reading.written, schemas_of(saga))]


def compiled(saga: str, text: str) -> Saga:
    written = _read([text, *map(shipped, TOGETHER.get(saga, []))]).models()
    schemas = schemas_of(saga)
    children = children_of([one.model for one in written], schemas)
    return compile_saga(written[0].model, schemas, DEPLOYED, children)


def _read(texts: list[str]) -> Reading:
    reading = Reading()
    for text in texts:
        yaml_source.parse(text, "docs/sagas.md", reading)
    return reading


# -- playing


def play(told: Told) -> Story:
    """The story, played to its end. Raises ``AssertionError``, with the page's line, where the page says what is not so."""
    player = _Player(told)
    for row in told.rows:
        try:
            player.row(row)
        except (AssertionError, KeyError, StopIteration, ValueError) as error:
            raise AssertionError(f"{row.place}: {error!r}") from error
    return player.story


class _Player:
    def __init__(self, told: Told) -> None:
        self.story = Story(compiled(told.saga, told.definition))
        own = [kantor_schemas.system(name) for name in ("StepFailed", "CompensateTransaction")]
        self._schemas = {**with_own(schemas_of(told.saga)), **Catalog(own)}
        self._types = {type_.rpartition(".")[2]: type_ for type_ in self.story.saga.types}
        self._start: dict[str, Any] = {}
        self._seen = 0

    def row(self, row: Row) -> None:
        for one in _REMARK.sub("", row.happens).split(", then "):
            self._happen(one)
        sent = self.story.commands[self._seen :]
        self._seen = len(self.story.commands)
        self._check_sent(_REMARK.sub("", row.sends), sent)
        self._check_stands(row.stands)

    def _happen(self, what: str) -> None:
        if time := _TIME.fullmatch(what):
            self.story.wait(durations.parse(time["time"]))
        elif done := _ACT.fullmatch(what):
            act(self.story, done["act"], done["step"] or "")
        elif event := _EVENT.fullmatch(what):
            self._deliver(event["type"], event["step"], _mapping(event["fields"]))
        else:
            raise AssertionError(f"{what!r} is in no notation of the stories")

    def _deliver(self, short: str, step: str | None, told: dict[str, Any]) -> None:
        """An event repeats what its service knows: the fields of what it was asked, or of the start."""
        type_ = self._types[short]
        cause = self._asked(type_, step) if step else self.story.entry(short, payload={}).causation_id
        asked: Mapping[str, Any] = next((c.fields for c in self.story.commands if c.id == cause), {})
        returns = {n: v for n, v in told.items() if type_ == TRANSACTION_ENDED and n not in _ENDED}
        own = {name: value for name, value in told.items() if name not in returns}
        whole = returns | record(self._schemas[type_], own, {**self._start, **asked})
        if type_ == self.story.saga.starts_on:
            self._start = whole
        captured = self.story.saga.captures.get(type_, frozenset())
        payload = {name: whole[name] for name in captured if name in whole}
        self.story.when(short, payload=payload, causation_id=cause)

    def _asked(self, type_: str, step: str) -> str:
        """The id of the step's last command that an event of this type can answer."""
        state = self.story.txn.steps[step]
        reverse = self.story.saga.steps[definition_path(step)].compensation
        confirms = reverse is not None and reverse.confirmed_on == type_ and state.compensation_id
        asked = state.compensation_id if confirms else state.command_id
        assert asked, f"{step} was not asked for anything"
        return asked

    def _check_sent(self, told: str, sent: list[SentCommand]) -> None:
        expected: list[tuple[str, dict[str, Any]]] = []
        for item in _SENT.finditer(told):
            expected += [(item["type"], _mapping(item["fields"]))] * int(item["times"] or 1)
        rest = _SENT.sub("", told).replace(", ", "")
        assert rest == ("" if expected else "nothing"), f"{told!r} is in no notation of the stories"
        names = [command.type.rpartition(".")[2] for command in sent]
        assert Counter(names) == Counter(type_ for type_, _ in expected), f"it sends {names}"
        assert names == [type_ for type_, _ in expected], f"it sends them in this order: {names}"
        for command, (_, fields) in zip(sent, expected, strict=True):
            found = {name: command.fields.get(name) for name in fields}
            assert found == fields, f"{command.type} has {command.fields}"
            if command.type in self._schemas:
                fastavro.validate(command.fields, self._schemas[command.type], strict=True)

    def _check_stands(self, told: str) -> None:
        stands = _STANDS.fullmatch(told)
        assert stands, f"{told!r} is in no notation of the stories"
        assert str(self.story.status) == stands["status"], f"it is {self.story.status}: {self.story.steps}"
        expected = dict(_step(one) for one in stands["steps"].split(", ")) if stands["steps"] else {}
        found = {path: self.story.steps.get(path, "pending") for path in expected}
        assert found == expected, f"the steps are {self.story.steps}"
        assert bool(self.story.txn.incidents) == bool(stands["incident"]), self.story.txn.incidents


def _step(told: str) -> tuple[str, str]:
    step = _STEP.fullmatch(told)
    assert step, f"{told!r} is not a step and where it stands"
    return step["path"], step["status"].replace(" ", "_")


def _mapping(told: str | None) -> dict[str, Any]:
    """``a: 1, b: x`` in YAML's words."""
    return dict(yaml.safe_load(f"{{{told}}}")) if told else {}


def record(
    schema: Schema, told: Mapping[str, Any], known: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """A record with the fields that are told, else those that are known, else plain values. A field that is told but is not
    in the schema is an error."""
    names = [field["name"] for field in schema["fields"]]
    assert set(told) <= set(names), f"{schema['name']} has the fields {names}"
    found = {}
    for field in schema["fields"]:
        name, type_ = field["name"], field["type"]
        if name in told:
            found[name] = _value(type_, told[name])
        elif name in known and fastavro.validate(known[name], type_, raise_errors=False):
            found[name] = known[name]
        else:
            found[name] = field["default"] if "default" in field else _plain(type_, name)
    fastavro.validate(found, schema, strict=True)
    return found


def _value(type_: Any, told: Any) -> Any:
    if isinstance(type_, dict) and type_["type"] == "array":
        return [_value(type_["items"], item) for item in told]
    if isinstance(type_, dict) and type_["type"] == "record":
        return record(type_, told)
    return told


def _plain(type_: Any, name: str) -> Any:
    kind = type_["type"] if isinstance(type_, dict) else type_
    values: Mapping[str, Any] = {"string": f"{name}-1", "int": 1, "long": 1, "array": [], "boolean": False}
    return values[kind]
