"""The names that an expression sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any


class Cost:
    """The steps that one decision's expressions have taken so far."""

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps = 0


class Scope(dict[str, Any]):
    """What an expression sees, by name. What is dear to tell (the results of a composite with a thousand members, for each of
    them) is told when it is asked for. Who evaluates adds what it took to ``cost``."""

    __slots__ = ("_later", "cost")

    def __init__(self, known: Mapping[str, Any] = MappingProxyType({}), cost: Cost | None = None) -> None:
        super().__init__(known)
        self._later: dict[str, Callable[[], Any]] = {}
        self.cost = Cost() if cost is None else cost

    def later(self, name: str, tell: Callable[[], Any]) -> None:
        """``tell`` is asked once, if anybody asks."""
        self.pop(name, None)
        self._later[name] = tell

    def __missing__(self, name: str) -> Any:
        found = self[name] = self._later[name]()
        return found

    def get(self, name: str, default: Any = None) -> Any:
        known = name in self
        return self[name] if known else default

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._later

    def copy(self) -> Scope:
        found = Scope(self, self.cost)
        found._later = self._later
        return found
