"""What people search by, as a query or a form says it; and the other small inputs."""

from __future__ import annotations

import re
import time
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
)

from kantor_orchestrator.definitions import durations
from kantor_orchestrator.view.search import Criteria, asked
from kantor_orchestrator.view.status import ShownStatus as Status

#: As ``durations`` reads them, up to some years.
DURATION = r"^([1-9][0-9]{0,7}(ms|s)|[1-9][0-9]{0,5}m|[1-9][0-9]{0,3}h|[1-9][0-9]{0,2}d)$"
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}")
#: Characters of a search word.
MOST_TEXT = 300


def _duration(text: str) -> str:
    if text:
        durations.parse(text)
    return text


def _written_time(value: object) -> object:
    """As RFC 3339 writes it: a bare number could mean seconds or milliseconds."""
    if value is not None and not (isinstance(value, str) and _TIME.match(value)):
        raise ValueError("write a time with its zone: 2026-01-31T12:00:00Z")
    return value


def _without_blanks(value: object) -> object:
    """A form sends every field, also the empty ones."""
    return [one for one in value if one != ""] if isinstance(value, list) else value


Time = Annotated[AwareDatetime, BeforeValidator(_written_time)]
Word = Annotated[str, Field(max_length=MOST_TEXT)]
Duration = Annotated[str, Field(pattern=DURATION), AfterValidator(_duration)]


class Filters(BaseModel):
    """What to look for; everything that is said must be so."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    q: Word = Field("", description="An id, the beginning of one, key=value, or a key's value.")
    status: Annotated[list[Status], BeforeValidator(_without_blanks), Field(max_length=10)] = Field(
        [], description="Any of these."
    )
    saga: Word = ""
    version: int | None = Field(None, ge=1, le=2**31 - 1)
    step: Word = Field("", description="Open at this step, or the last error occurred there.")
    service: Word = Field("", description="The service or person it is waiting on.")
    error: Word = Field("", description="Part of the last error or of the reason.")
    started_after: Time | None = None
    started_before: Time | None = None
    stuck_for: Duration | None = Field(
        None, description="Open and without any change for this long: 15m, 2h, 3d."
    )
    open: bool = Field(False, description="Not ended, or with an open incident.")

    def criteria(self, now: float | None = None) -> Criteria:
        """``now``: seconds since the epoch."""
        return asked(
            int((time.time() if now is None else now) * 1000),
            text=self.q,
            status=(status.value for status in self.status),
            saga=self.saga,
            version=self.version,
            step=self.step,
            service=self.service,
            error=self.error,
            started_after=int(self.started_after.timestamp() * 1000) if self.started_after else None,
            started_before=int(self.started_before.timestamp() * 1000) if self.started_before else None,
            stuck_for=durations.parse(self.stuck_for) if self.stuck_for else None,
            is_open=self.open,
        )


class Search(Filters):
    """A page of what is found, the newest first."""

    limit: int = Field(50, ge=1, le=200)
    page_token: str = Field(
        "", pattern=r"^[A-Za-z0-9_-]*$", max_length=100, description="next_page of the last page."
    )


class JsonFilters(Filters):
    """The same in JSON, where a number is no text and 1 is not true."""

    status: Annotated[list[Status], Field(max_length=10)] = []
    version: Annotated[StrictInt, Field(ge=1, le=2**31 - 1)] | None = None
    open: StrictBool = False
