"""Searching: every test of SQLite, on PostgreSQL."""

from unit.test_view_search import *  # noqa: F403 - its tests and fixtures, with our places
