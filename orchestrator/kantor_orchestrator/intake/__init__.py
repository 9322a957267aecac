"""Intake: from source topics to the journal. ``loop.py`` is where to begin."""
