"""Who asks, and the three roles."""

from __future__ import annotations

from dataclasses import dataclass

VIEWER, OPERATOR, ADMIN = "viewer", "operator", "admin"
#: Each may do what those before it may.
ROLES = (VIEWER, OPERATOR, ADMIN)
#: The name of whoever comes from this machine without login.
LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks. ``name`` is what the journal says who did it."""

    name: str
    role: str

    def may(self, role: str) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)
