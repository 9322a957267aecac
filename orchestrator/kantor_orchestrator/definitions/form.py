"""What follows from the kind of a step: what each entry of ``step_kinds.FORMS`` says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kantor_orchestrator.core import saga as core

if TYPE_CHECKING:
    from kantor_orchestrator.definitions.check_step import StepCheck
    from kantor_orchestrator.definitions.compile import Compiler
    from kantor_orchestrator.definitions.meaning import Children
    from kantor_orchestrator.definitions.model import StepModel
    from kantor_orchestrator.definitions.scopes import Scopes
    from kantor_orchestrator.definitions.tree import Node

Said = TypeVar("Said")


class Form(Generic[Said]):
    """How a kind of step is written, and what follows from that. ``Said``: what is written under its word. What most kinds have in common
    is here; a kind says what is different."""

    #: As ``core/step_kinds.py`` calls it.
    name: str
    #: The word that makes a step one of it; empty: a step without any such word.
    word: str
    #: The words that have an effect in it, of those that have none in some other kind.
    takes: frozenset[str] = frozenset()
    #: Why all others have none: the end of the sentence ``step X ...``, and what to do. Empty: each word has its own reason.
    why: str = ""
    remedy: str = ""
    #: Words for which there is more to say: what is wrong with them here, and what to do.
    refused: Mapping[str, tuple[str, str]] = {}
    #: Its box: around its text in Mermaid, and in CSS.
    brackets: tuple[str, str] = ("[", "]")
    style: str

    def said(self, step: StepModel) -> Said:
        """What is written under its word."""
        found: Said = getattr(step, self.word)
        return found

    # -- its messages

    def sends(self, step: StepModel, children: Children) -> str:  # noqa: ARG002 - of those that send none
        """The type of the command that asks for it; empty if none does, or a child that nobody knows."""
        return ""

    def topic(self, step: StepModel) -> str | None:  # noqa: ARG002
        """The topic that is written for that command."""
        return None

    def success(self, step: StepModel) -> str:
        """The type of the event that it succeeds on; empty if there is none, or it was not said."""
        return step.succeeds_on or ""

    def failures(self, step: StepModel) -> tuple[str, ...]:
        """The types of the events that it fails on."""
        return step.fails_on

    def result(self, node: Node, scopes: Scopes) -> Any:
        """The Avro type of what expressions know of it once it has succeeded."""
        return scopes.type_of_event(self.success(node.step))

    # -- what is made of it

    def check(self, check: StepCheck) -> None:
        """Report what can't work in what is written under its word."""

    def compiled(self, step: core.Step, compiler: Compiler, node: Node) -> core.Step:  # noqa: ARG002
        """What the engine gets. ``step``: what follows from the words that are for several kinds."""
        return step

    def drawn(self, step: StepModel) -> Iterator[str]:
        """What it does, in a line or two."""
        yield f"{self.name}: {self.success(step)}"
