"""What a saga says of itself: how it ends, what it returns, what cancels it, where its commands go."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kantor.envelope import TRANSACTION_ENDED
from kantor_orchestrator.definitions import expressions, meaning
from kantor_orchestrator.definitions.check_fields import FieldCheck, Sent
from kantor_orchestrator.definitions.check_formulas import FormulaCheck
from kantor_orchestrator.definitions.check_messages import MessageCheck
from kantor_orchestrator.definitions.expressions import Formula, Ref
from kantor_orchestrator.definitions.filling import fields_of
from kantor_orchestrator.definitions.model import Command
from kantor_orchestrator.definitions.own_messages import own
from kantor_orchestrator.definitions.problem import Findings, Path, nearest
from kantor_orchestrator.definitions.scopes import Scope, Scopes

#: The statuses that end a transaction which some saga describes.
ENDS = ("completed", "compensated", "closed")


def check_saga(
    scopes: Scopes,
    found: Findings,
    formulas: FormulaCheck,
    fields: FieldCheck,
    messages: MessageCheck,
) -> None:
    saga = scopes.saga

    def message(command: Command, known: Mapping[str, Scope], when: str, at: Path) -> None:
        if messages.exists(command.type, (*at, "type"), (*at, "command"), at):
            fields.check(Sent(command.type, command.fields, known, None, when, ((*at, "fields"),), at))
        if command.key is not None:
            formulas.key(command.key, known, None, when, (*at, "key"))

    for status, command in saga.ends_with.items():
        at = ("ends_with", status)
        if status not in ENDS:
            near = nearest(status, ENDS)
            what = f"no transaction ends as {status}"
            remedy = f"did you mean {near}?" if near else f"use one of {', '.join(ENDS)}"
            found.add(what, remedy, at)
        else:
            message(command, scopes.at_end(status), f"when a transaction ends as {status}", at)
    _returns(scopes, found, formulas)
    _cancellation(scopes, found, message, messages)
    _commands(scopes, found, formulas, messages)
    if saga.enforce is not None and saga.mode != "enforce":
        what = f"mode {saga.mode} sends nothing, so `enforce` has no effect"
        found.add(what, "drop `mode`, or drop `enforce`", ("enforce",))


def _returns(scopes: Scopes, found: Findings, formulas: FormulaCheck) -> None:
    known = scopes.at_end("completed")
    when = "when the saga is completed"
    for name, value in scopes.saga.returns.items():
        at = ("returns", name)
        if name in fields_of(own()[TRANSACTION_ENDED]):
            what = f"{name} is already reported for every transaction that ends, so it can't be returned"
            found.add(what, "give it another name", at)
        parsed = expressions.parse(value)
        if isinstance(parsed, Formula):
            if formulas.check(parsed.text, known, None, when, at):
                formulas.kept(parsed.text, known, at)
        elif isinstance(parsed, Ref) and formulas.ref(parsed, known, None, when, at):
            scope = known[parsed.scope]
            if scope.is_event and not scope.certain:
                what = f"{parsed} may be unknown {when}: {parsed.scope} {formulas.why(parsed.scope, None)}"
                found.add(what, f"write has({parsed}) ? {parsed} : ...", at)


def _cancellation(
    scopes: Scopes,
    found: Findings,
    message: Callable[[Command, Mapping[str, Scope], str, Path], None],
    messages: MessageCheck,
) -> None:
    cancel = scopes.saga.cancel_on
    if cancel is None:
        return
    messages.event(cancel.event, ("cancel_on", "event"))
    if cancel.event == scopes.saga.starts_on:
        found.add(
            f"{cancel.event} both starts and cancels the saga", "use another event", ("cancel_on", "event")
        )
    node = scopes.tree.nodes.get(cancel.until)
    at: Path = ("cancel_on", "until")
    if node is None:
        near = nearest(cancel.until, scopes.tree.nodes)
        remedy = f"did you mean {near}?" if near else f"the steps are {', '.join(scopes.tree.children(None))}"
        found.add(f"the saga can be cancelled until {cancel.until}, which is not a step", remedy, at)
    elif node.each is not None:
        what = f"{cancel.until} runs once for each item of {node.each.name}, so it has no single end"
        found.add(what, f"write `until: {node.each.path}`", at)
    if cancel.refuse_with is not None:
        known = scopes.at_end("compensated")
        message(cancel.refuse_with, known, "when a cancellation is refused", ("cancel_on", "refuse_with"))


def _commands(scopes: Scopes, found: Findings, formulas: FormulaCheck, messages: MessageCheck) -> None:
    sent = meaning.commands(scopes.saga, scopes.children)
    for type_, route in scopes.saga.commands.items():
        at = ("commands", type_)
        if type_ not in sent or type_ in own():
            near = nearest(type_, [name for name in sent if name not in own()])
            remedy = f"did you mean {near}?" if near else "leave it out"
            found.add(f"the saga never sends {type_}", remedy, at)
        elif messages.exists(type_, at) and route.key is not None:
            start = {"start": scopes.start()}
            formulas.key(route.key, start, None, f"when {type_} is sent", (*at, "key"))
