"""What people may do: one registry. The command line, the API, the pages and what can be done to many are derived from it.

How an operator action on a transaction is carried out is in ``acts.py``, by name; one on sagas in ``formats/holds.py``. A new operator action is an entry here and its
function there; a test fails with its name until both are there (docs/contributing/acts.md).
"""

from __future__ import annotations

from dataclasses import dataclass

RETRY, SKIP, CANCEL, COMPENSATE, CLOSE = "retry", "skip", "cancel", "compensate", "close"
SIGNAL, START = "signal", "start"
HOLD, RELEASE = "hold", "release"

#: Whether an operator action is about one step.
POSSIBLE, NEEDED = "possible", "needed"
#: What it takes besides.
FIELDS, OFFSET = "fields", "offset"
#: When a transaction's page offers it, besides as the remedy of an open incident: on steps that it fits, while the transaction runs,
#: until it has ended, as long as an incident is open.
ON_STEPS, RUNNING, UNTIL_THE_END, WITH_INCIDENT = "on_steps", "running", "until_the_end", "with_incident"


@dataclass(frozen=True, slots=True)
class ActKind:
    """An operator action. ``title``: what its button says. ``help``: of its command. ``means``: what it does to one transaction, where a page
    offers it by itself (``offered``). ``of_each``: what it does to each of many; empty: nobody does it to many."""

    name: str
    title: str
    help: str
    means: str = ""
    offered: str = ""  # one of the above; empty: as a remedy only, or never
    of_each: str = ""
    step: str = ""  # POSSIBLE | NEEDED; empty: it is about the whole transaction
    takes: str = ""  # FIELDS | OFFSET; empty: nothing
    needs_why: bool = True  # on the command line; the API always wants it
    is_by_evidence: bool = False  # a person vouches for something: why is what it is known by
    is_danger: bool = False  # its effects can't be undone
    is_for_programs: bool = True  # the API has it


#: On a transaction.
KINDS = {
    one.name: one
    for one in (
        ActKind(
            RETRY,
            "Retry",
            "Retry what needs a person: a step, its compensation, or the whole transaction.",
            means="Try the step again.",
            offered=ON_STEPS,
            of_each="Retries the open incidents of each transaction.",
            step=POSSIBLE,
        ),
        ActKind(
            SKIP,
            "Skip",
            "Record that a step, or its compensation, was done by hand. Without --step, close the open incidents and go on. Give "
            "the evidence with --why.",
            means="Record that the step was done by hand; the evidence is kept.",
            offered=ON_STEPS,
            step=POSSIBLE,
            is_by_evidence=True,
        ),
        ActKind(
            CANCEL,
            "Cancel",
            "Reverse what a running transaction has done, as long as there is a way back. Usually this is the command you want. It "
            "is refused while the pivot's outcome is unknown: then see `kantor compensate`.",
            means="Reverse what has happened, as long as there is a way back.",
            offered=RUNNING,
            of_each="Each of them is compensated, unless it is past its pivot.",
            is_danger=True,
        ),
        ActKind(
            COMPENSATE,
            "Compensate",
            "Do what `kantor cancel` does; if the pivot's outcome is unknown, also record that it did NOT happen, so that the rest "
            "is reversed. Make sure of that first.",
            of_each="The effects of each of them are compensated, unless it is past its pivot.",
            is_danger=True,
        ),
        ActKind(
            CLOSE,
            "Close",
            "End a transaction as it is, whatever its state. Nothing is reversed. Give the evidence with --why.",
            means="End the transaction as it is, whatever its state. Nothing is reversed.",
            offered=UNTIL_THE_END,
            of_each="Each of them ends as it is, whatever its state: nothing is compensated.",
            is_by_evidence=True,
            is_danger=True,
        ),
        ActKind(
            SIGNAL,
            "Give the signal",
            "Give a step the signal that it is waiting for.",
            means="Give the step the signal that it is waiting for.",
            offered=ON_STEPS,
            step=NEEDED,
            takes=FIELDS,
            needs_why=False,
        ),
        ActKind(
            START,
            "Start",
            "Start a transaction whose start event came too late to start it.",
            takes=OFFSET,
            is_for_programs=False,
        ),
    )
}

#: On a saga, or on all of them.
ON_SAGAS = {
    one.name: one
    for one in (
        ActKind(
            HOLD,
            "Hold",
            "Stop a saga's transactions until `kantor release`: messages for them are kept, nothing is sent, no timer fires.",
        ),
        ActKind(
            RELEASE,
            "Release",
            "Let held transactions continue: the messages that were kept are processed in order.",
        ),
    )
}

#: What can be done to many transactions at once.
FOR_MANY = {name: one for name, one in KINDS.items() if one.of_each}
