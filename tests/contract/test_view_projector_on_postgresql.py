"""What the view makes of records: every test of SQLite, on PostgreSQL."""

from unit.test_view_projector import *  # noqa: F403 - its tests and fixtures, with our places
