"""What the claims of an OpenID provider's token say: who it is, and which role they have. No web and no cryptography in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kantor.errors import KantorError
from kantor_orchestrator.api.config import OidcSettings
from kantor_orchestrator.api.people import ROLES, Person

#: Characters of a name that the journal keeps; of somebody's input that an error repeats.
_MOST_NAME, _ECHO = 200, 100


class ProviderDownError(KantorError):
    """The provider does not answer, or not as one. Ask again later."""


class RejectedError(KantorError):
    """The token, or the answer to a login, is not good; it says why. Log in again."""


class NoRoleError(KantorError):
    """It is known who it is, but they have no role here."""


def person_in(claims: Mapping[str, Any], settings: OidcSettings) -> Person:
    """Raises ``NoRoleError``, which says what to ask for."""
    name = name_in(claims)
    given = _granted(claims, settings.roles_claim)
    roles = {settings.roles[one] for one in given if one in settings.roles}
    if not roles:
        has = ", ".join(sorted(given))[:_ECHO] or "nothing"
        wanted = ", ".join(f"{one} ({role})" for one, role in settings.roles.items())
        raise NoRoleError(
            f"{name} is known, but has no role here: the claim {settings.roles_claim!r} says {has}. "
            f"Ask whoever looks after {settings.issuer} for one of: {wanted}"
        )
    return Person(name, max(roles, key=ROLES.index))


def name_in(claims: Mapping[str, Any]) -> str:
    """What the journal says who did it: an e-mail address, unless the provider says that nobody has verified it; else a user
    name, a name, the subject."""
    email = claims.get("email") if claims.get("email_verified", True) in (True, "true") else None
    for found in (email, claims.get("preferred_username"), claims.get("name"), claims.get("sub")):
        if isinstance(found, str) and found.strip() and found.isprintable():
            return found.strip()[:_MOST_NAME]
    raise RejectedError(
        "the token does not identify a person: it has neither email, preferred_username, name nor sub"
    )


def has_claim(claims: Mapping[str, Any], path: str) -> bool:
    return _value(claims, path) is not None


def _granted(claims: Mapping[str, Any], path: str) -> set[str]:
    found = _value(claims, path)
    if isinstance(found, str):
        return {found, *found.split()}
    return {one for one in found if isinstance(one, str)} if isinstance(found, list) else set()


def _value(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its name, which may have dots in it (``https://example.com/roles``); else by the way to it
    (``realm_access.roles``)."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found
