"""What the view shows of records that come again: every test of SQLite, on PostgreSQL."""

from unit.test_view_acts import *  # noqa: F403 - its tests and fixtures, with our places
