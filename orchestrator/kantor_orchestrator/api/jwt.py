"""JSON Web Tokens of an OpenID provider: is it signed by one of its keys, for us, and in force? joserfc does the cryptography.

* Only asymmetric algorithms are allowed: ``none`` and a public key used as a shared secret (HS256) never verify.
* A key that is not known makes us ask for the keys again, since providers change them; but not each time that somebody
  makes one up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from joserfc import jws
from joserfc.errors import (
    BadSignatureError,
    ExpiredTokenError,
    InvalidClaimError,
    JoseError,
    MissingClaimError,
    UnsupportedAlgorithmError,
)
from joserfc.jwk import Key, KeySet
from joserfc.jwt import JWTClaimsRegistry, decode

from kantor_orchestrator.api.identity import ProviderDownError, RejectedError

log = logging.getLogger("kantor.api")

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519")
#: Seconds that clocks may differ.
LEEWAY = 30
#: Seconds that keys are good for; between two questions because of a key that is not known.
_FRESH, _ASK_AGAIN = 600.0, 10.0
#: Characters of a token: more is not a token.
_LONGEST = 16_384


class Keys:
    """The provider's public keys. Thread-safe. ``fetch`` gets its JSON Web Key Set; raises ``ProviderDownError``."""

    def __init__(
        self, fetch: Callable[[], Mapping[str, Any]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: list[Key] = []
        self._fetched = self._asked_again = float("-inf")

    def those_of(self, kid: str | None) -> list[Key]:
        """That may have signed it; all of them for a token that does not name its key. Empty: none."""
        with self._lock:
            if self._clock() - self._fetched > _FRESH:
                try:
                    self._load()
                except ProviderDownError as error:
                    if not self._keys:
                        raise
                    log.warning(
                        "using the provider's cached keys: %s",
                        error,
                        extra={"action": "oidc_unavailable"},
                    )
                    self._fetched = self._clock() - _FRESH + _ASK_AGAIN
            return [key for key in self._keys if kid is None or key.kid == kid]

    def ask_again(self) -> bool:
        """Get them again, unless that has just been done. Raises ``ProviderDownError``."""
        with self._lock:
            if self._clock() - self._asked_again < _ASK_AGAIN:
                return False
            self._asked_again = self._clock()
            self._load()
            return True

    def _load(self) -> None:
        found = self._fetch()
        try:
            keys = KeySet.import_key_set(found)  # type: ignore[arg-type] # what it is not, it says
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise ProviderDownError(f"the provider's keys can't be read: {error}") from error
        self._keys = [key for key in keys if key.as_dict().get("use") in (None, "sig")]
        self._fetched = self._clock()


def claims_of(
    token: str, keys: Keys, *, issuer: str, audience: str, now: Callable[[], float] = time.time
) -> dict[str, Any]:
    """Raises ``RejectedError`` that says what is wrong with it, ``ProviderDownError``."""
    claims = _signed(token, keys)
    wanted = JWTClaimsRegistry(
        now=lambda: int(now()),
        leeway=LEEWAY,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": audience},
        exp={"essential": True},
        sub={"essential": True},
    )
    try:
        wanted.validate(claims)
    except ExpiredTokenError as error:
        raise RejectedError("the token has expired: log in again, or get a new one") from error
    except MissingClaimError as error:
        raise RejectedError(f"invalid token: {error}") from error
    except InvalidClaimError as error:
        said = {
            "iss": f"it was not issued by {issuer}",
            "aud": f"it was not issued for {audience}",
            "nbf": "it is not valid yet (nbf)",
            "iat": "it was issued in the future (iat)",
        }
        raise RejectedError(
            f"invalid token: {said.get(error.claim or '', f'the claim {error.claim} is invalid')}"
        ) from error
    return claims


def _signed(token: str, keys: Keys) -> dict[str, Any]:
    if len(token) > _LONGEST or not token.isascii():
        raise RejectedError("malformed token")
    try:
        header = jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError) as error:
        raise RejectedError("malformed token") from error
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise RejectedError(f"invalid token: the signing algorithm {str(algorithm)[:20]!r} is not accepted")
    if kid is not None and not isinstance(kid, str):
        raise RejectedError("malformed token")
    found = _verified(token, keys.those_of(kid))
    # A key of that name may be another one by now, also where keys have no names.
    if found is None and keys.ask_again():
        found = _verified(token, keys.those_of(kid))
    if found is None:
        raise RejectedError("invalid token: it is not signed with any of the provider's keys")
    return found


def _verified(token: str, keys: list[Key]) -> dict[str, Any] | None:
    for key in keys:
        try:
            return decode(token, key, algorithms=ALGORITHMS).claims
        except (BadSignatureError, UnsupportedAlgorithmError):
            continue
        except (
            JoseError,
            ValueError,
        ) as error:  # a key of another kind, or for other things; a payload that is none
            log.debug("a key does not fit a token: %s", error)
    return None
