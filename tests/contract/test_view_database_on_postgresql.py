"""What is found in the view, and who may write: every test of SQLite, on PostgreSQL."""

from unit.test_view_database import *  # noqa: F403 - its tests and fixtures, with our places
