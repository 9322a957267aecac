"""The API: every test of SQLite, on PostgreSQL."""

from unit.test_api import *  # noqa: F403 - its tests and fixtures, with our places
