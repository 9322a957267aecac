"""Answers of an OpenID provider that are there within a time, or not at all.

The timeout of ``requests`` is for each part of an answer by itself: a server that drips, a byte a second, would be waited for without
end, by whoever wants to log in, and by all that wait for the same.
"""

from __future__ import annotations

import io
import time
from typing import Any

from requests import PreparedRequest, RequestException, Response
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

#: Bytes of an answer: more than any key set or token has.
_MOST = 1 << 20
_PART = 1 << 14


class Timely(HTTPAdapter):
    """Raises ``RequestException`` if a body is too large, or not whole in time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        super().__init__()

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """As its base. The answer has its body already."""
        until = time.monotonic() + self._seconds
        response = super().send(request, *args, **options)
        body = io.BytesIO()
        read = getattr(response.raw, "read1", response.raw.read)  # what is there, not all of a part
        try:
            while part := read(_PART, decode_content=True):
                body.write(part)
                if time.monotonic() > until:
                    raise RequestException(f"the whole answer was not there after {self._seconds:g} s")
                if body.tell() > _MOST:
                    raise RequestException(f"an answer of more than {_MOST:,} bytes")
        except HTTPError as error:
            raise RequestException(str(error)) from error
        finally:
            response.raw.close()
        body.seek(0)
        response.raw = body
        return response
