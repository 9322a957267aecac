"""The orchestrator. ``from kantor_orchestrator import Saga, Steps`` writes definitions in Python.

The names are loaded when they are first used: the pure core and its callers must not load pydantic with it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kantor_orchestrator.definitions.dsl import Saga, Steps

__all__ = ["Saga", "Steps"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'kantor_orchestrator' has no attribute {name!r}")
    from kantor_orchestrator.definitions import dsl

    return getattr(dsl, name)
