"""Which transaction a record belongs to; if none: why not, and what its producer can do about it. Headers in, words out
(wire-6, wire-7).

A reason is the same text for all records that share it (so that they can be counted together), and ends with the remedy
behind ``; ``. What is particular about one record is found where its sample says that it lies.
"""

from __future__ import annotations

from kantor.envelope import TRANSACTION_ID, Headers, command_id
from kantor.envelope import UNREADABLE as UNREADABLE_HEADERS
from kantor_orchestrator.core.decision import ENDING, REFUSAL
from kantor_orchestrator.formats import topics

#: The versions of CloudEvents whose attributes mean what Kantor takes them for.
SPEC_VERSION = b"1.0"
#: A record's content type when all of the event is in its value (CloudEvents' Kafka binding, 3.3).
STRUCTURED = b"application/cloudevents"

MISSING = "no transaction id: the header ce_correlationid is missing; let the producer set it"
MALFORMED = "malformed transaction id in ce_correlationid: allowed is [A-Za-z0-9._:-]{1,128}; let the producer send an id of this form"
IN_STRUCTURED_MODE = (
    "no transaction id: the event is in structured mode; Kantor reads binary mode"
    "; let the producer send the attributes as headers (ce_id, ce_type, ce_correlationid, ...)"
)
NO_TYPE = "the header ce_type is missing, so the record's type is unknown; let the producer set it"
OTHER_VERSION = (
    "ce_specversion is not 1.0, the only version of CloudEvents that Kantor knows; let the producer send 1.0"
)
IMPERSONATED = (
    "ce_source says that Kantor sent it, but it did not; find out who wrote it, give the producer a name of its own,"
    " and let nobody but the platform write as `kantor`"
)
UNREADABLE = "its headers can't be read (a name that is not UTF-8, for example); let the producer fix them"
GONE = (
    "Kafka deleted it before intake read it, because the topic's retention is shorter than the time for which intake was down or"
    " behind (or somebody deleted its records); keep the topic's records for longer (retention.ms, retention.bytes), and look for"
    " transactions that wait (`kantor list --open --stuck 10m`)"
)
FAILED_ON = (
    "intake failed on this record, as its log says; look at the record, and let the producer send valid ones"
)

#: Messages that a transaction sends at its ends: more than there are.
_OWN = 64


def twice(attribute: str) -> str:
    """The reason against a record that has an attribute twice, and not the same: nobody can tell which one is meant."""
    return f"the header {attribute} is present twice, with different values; let the producer send it once"


def why_not(headers: Headers) -> str:
    """Why this record can't be attributed to a transaction; empty if it can."""
    found = dict(headers)
    if UNREADABLE_HEADERS in found:
        return UNREADABLE
    for name, value in headers:
        if name[:3] == "ce_" and value != found[name]:
            return twice(name)
    transaction = found.get("ce_correlationid")
    if transaction is None:
        mode = (found.get("content-type") or b"").lstrip().lower()
        return IN_STRUCTURED_MODE if mode.startswith(STRUCTURED) else MISSING
    if TRANSACTION_ID.fullmatch(transaction.decode("latin-1")) is None:
        return MALFORMED
    if found.get("ce_specversion", SPEC_VERSION) != SPEC_VERSION:
        return OTHER_VERSION
    return "" if found.get("ce_type") else NO_TYPE


def is_impersonated(topic: str, found: dict[str, bytes | None]) -> bool:
    """Whether a record with ``ce_source: kantor`` is not Kantor's (journal-8). It writes commands, its announcements, and
    what sagas say at their end or in refusal, whose ids follow from the transaction's (it is no proof: that takes ACLs)."""
    if not topic.startswith("evt.") or topic == topics.ENDED:
        return False
    id_, transaction = found.get("ce_id") or b"", (found.get("ce_correlationid") or b"").decode("latin-1")
    refuses = (found.get("ce_causationid") or b"").decode("utf-8", "replace")
    own = [command_id(transaction, "", ENDING, n, 1) for n in range(1, _OWN)]
    return id_.decode("latin-1") not in [*own, command_id(transaction, refuses, REFUSAL, 1, 1)]
