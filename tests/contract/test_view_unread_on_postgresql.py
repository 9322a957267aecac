"""What could not be read: every test of SQLite, on PostgreSQL."""

from unit.test_view_unread import *  # noqa: F403 - its tests and fixtures, with our places
