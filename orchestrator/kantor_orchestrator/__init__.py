"""The orchestrator. ``from kantor_orchestrator import Saga`` writes definitions in Python.

The name is loaded when it is first used: the pure core and its callers must not load pydantic with it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kantor_orchestrator.definitions.dsl import Saga

__all__ = ["Saga"]


def __getattr__(name: str) -> Any:
    if name != "Saga":
        raise AttributeError(f"module 'kantor_orchestrator' has no attribute {name!r}")
    from kantor_orchestrator.definitions.dsl import Saga as Loaded

    return Loaded
