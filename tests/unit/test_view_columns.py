"""The columns of a transaction are named once (``view/columns.py``): a test says by name what is missing."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from kantor_orchestrator.view import columns
from kantor_orchestrator.view.columns import Beside, FoundBy, Kept, Known, Listed, TransactionFacts
from kantor_orchestrator.view.queries import Summary
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


def test_no_column_is_written_twice() -> None:
    """Each has one group: by what it is found, what lists show beside, what the projection goes on with."""
    groups = (FoundBy._fields, Beside._fields, Kept._fields, ("no", "id"))
    assert sum(map(len, groups)) == len(WRITTEN)


def test_what_is_read_is_written() -> None:
    """By lists, by a transaction's own page, by the projection."""
    for row in (Known, Listed, TransactionFacts):
        assert WRITTEN.issuperset(row._fields), row.__name__


def test_lists_show_what_is_read_for_them() -> None:
    """A field of ``Summary`` that nothing is read for is named here."""
    read = {"transaction_id" if name == "id" else name for name in Listed._fields}
    assert {field.name for field in fields(Summary)} - read == {"keys"}


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
