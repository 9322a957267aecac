"""The columns of a transaction are named once (``view/columns.py``): a test says by name what is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from kantor_orchestrator.api import shapes
from kantor_orchestrator.view import as_json, columns
from kantor_orchestrator.view.columns import Beside, FoundBy, Kept, Known, Summary, TransactionFacts, shown
from kantor_orchestrator.view.sql import migrations
from kantor_orchestrator.view.sqlite import SqliteDatabase

WRITTEN = {*FoundBy._fields, *Beside._fields, *Kept._fields, "no", "id"}


def test_every_column_of_the_table_is_written(tmp_path: Path) -> None:
    """A migration without a name in ``columns.py`` would leave its column empty; a name without a migration fails to be written."""
    database = SqliteDatabase.for_writing(tmp_path / "view.db")
    try:
        there = {str(row[1]) for row in database.rows("PRAGMA table_info(transactions)")}
    finally:
        database.close()
    assert there == WRITTEN


def test_both_databases_have_the_same_migrations() -> None:
    """A version means the same on both. Whether they do the same is asked of a real PostgreSQL (``tests/contract``)."""
    assert [file.name for file in migrations("sqlite")] == [file.name for file in migrations("postgresql")]


def test_no_column_is_written_twice() -> None:
    """Each has one group: by what it is found, what lists show beside, what the projection goes on with."""
    groups = (FoundBy._fields, Beside._fields, Kept._fields, ("no", "id"))
    assert sum(map(len, groups)) == len(WRITTEN)


def test_what_is_read_is_written() -> None:
    """By lists, by a transaction's own page, by the projection. A field of ``Summary`` that has no column is named here."""
    listed = set(columns.LISTED.split(", "))
    for read in (listed, set(Known._fields), set(TransactionFacts._fields)):
        assert read - WRITTEN == set()


def test_what_lists_show_is_told_and_described_as_it_is_declared() -> None:
    """As JSON, null where there is none; and OpenAPI has the same fields, in the same order."""
    row = {
        "id": "tx-1", "saga": "", "version": 0, "status": "observed", "waiting_on": '["payment"]', "held": "ops: audit",
        "open_steps": "[]", "started_at": 1_000, "updated_at": 0, "ended_at": 0, "due": 0, "reason": "", "last_error": "timed out",
        "open_incidents": 2,
    }  # fmt: skip
    names = columns.LISTED.split(", ")[3:]
    assert set(names) == row.keys()
    found = Summary(**shown([row[name] for name in names], json.loads), keys=[("order", "7")])
    told = as_json.summary(found)
    assert told == {
        "transaction_id": "tx-1",
        "saga": None,
        "version": None,
        "status": "observed",
        "waiting_on": ["payment"],
        "held": "ops: audit",
        "open_steps": [],
        "started_at": "1970-01-01T00:00:01.000Z",
        "updated_at": None,
        "ended_at": None,
        "due": None,
        "reason": None,
        "last_error": "timed out",
        "open_incidents": 2,
        "keys": [{"name": "order", "value": "7"}],
    }
    assert list(shapes.Summary.model_fields) == list(told)
    shapes.Summary.model_validate(told)
    with pytest.raises(ValidationError):
        shapes.Summary.model_validate(told | {"open_incidents": None})


def test_the_statements_have_a_value_for_each_column() -> None:
    """In the order in which the groups are put together."""
    rest = (*Beside._fields, *Kept._fields)
    for statement, names in (
        (columns.INSERT, (*FoundBy._fields, *rest, "no", "id")),
        (columns.UPDATE, (*FoundBy._fields, *rest, "no")),
        (columns.UPDATE_REST, (*rest, "no")),
    ):
        listed = re.findall(r"\w+(?= = \?|, |\))", statement.partition(" VALUES")[0].partition(" WHERE")[0])
        assert (*listed, *(["no"] if "WHERE no = ?" in statement else [])) == names
        assert statement.count("?") == len(names)
