"""The pages: every test of SQLite, on PostgreSQL."""

from unit.test_web import *  # noqa: F403 - its tests and fixtures, with our places
