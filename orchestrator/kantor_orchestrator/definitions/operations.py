"""What CEL's operators and functions do with values (https://github.com/google/cel-spec, "Language Definition").

Types don't mix, except numbers in comparisons. A value of a type that CEL lacks (decimals, dates, times of day, UUIDs, local
timestamps) can be passed on and compared for equality with one of its own type. An operation that can't be raises
``CelError``; numbers that are too large do, too.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from datetime import time as clock_time
from decimal import Decimal
from typing import Any
from uuid import UUID

from kantor_orchestrator.definitions.metering import Meter

_LEAST, _MOST = -(2**63), 2**63 - 1
_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class CelError(ValueError):
    """These values can't be put together so."""


def kind(value: Any) -> str:
    """CEL's name for a value's type, or ours for those that it lacks."""
    if found := _KINDS.get(type(value)):
        return found
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "map"
    if isinstance(value, datetime):
        return "timestamp" if value.tzinfo is not None else "local timestamp"
    return next((name for type_, name in _KINDS.items() if isinstance(value, type_)), type(value).__name__)


def told(value: Any) -> str:
    """A value in an error's text: what kind it is, not what it is. It may be personal data, and everybody reads incidents."""
    found = kind(value)
    return (
        f"{found} of length {len(value)}"
        if isinstance(value, str | bytes | list | tuple | Mapping)
        else found
    )


_KINDS: Mapping[type, str] = {
    bool: "bool",
    int: "int",
    float: "double",
    str: "string",
    bytes: "bytes",
    dict: "map",
    list: "list",
    tuple: "list",
    timedelta: "duration",
    Decimal: "decimal",
    date: "date",
    clock_time: "time of day",
    UUID: "uuid",
}


_TEXTS, _HOLDERS = {str, bytes}, {dict, list, tuple}


def whole(value: int) -> int:
    """Raises ``CelError`` for more than 64 bits."""
    if _LEAST <= value <= _MOST:
        return value
    raise CelError("a whole number has more than 64 bits")


# -- operators


def arithmetic(sign: str, one: Any, other: Any, meter: Meter) -> Any:
    """``+ - * / %``."""
    kinds = kind(one), kind(other)
    try:
        if kinds == ("int", "int"):
            return whole(_whole(sign, one, other))
        if kinds == ("double", "double") and sign != "%":
            return _broken(sign, one, other)
        if sign == "+" and kinds[0] == kinds[1] and kinds[0] in ("string", "bytes", "list"):
            meter.build(len(one) + len(other))
            return [*one, *other] if kinds[0] == "list" else one + other
        if sign in "+-" and kinds in (("timestamp", "duration"), ("duration", "duration")):
            return one + other if sign == "+" else one - other
        if (sign, *kinds) in (("+", "duration", "timestamp"), ("-", "timestamp", "timestamp")):
            return one + other if sign == "+" else one - other
    except ZeroDivisionError:
        raise CelError("division by zero") from None
    except OverflowError as error:
        raise CelError(str(error)) from error
    raise CelError(f"there is no {kinds[0]} {sign} {kinds[1]}")


def _whole(sign: str, one: int, other: int) -> int:
    if sign == "+":
        return one + other
    if sign == "-":
        return one - other
    if sign == "*":
        return one * other
    quotient = abs(one) // abs(other)  # towards zero, not down
    if (one < 0) != (other < 0):
        quotient = -quotient
    whole(quotient)
    return quotient if sign == "/" else one - other * quotient


def _broken(sign: str, one: float, other: float) -> float:
    if sign == "+":
        return one + other
    if sign == "-":
        return one - other
    if sign == "*":
        return one * other
    if other:
        return one / other
    return math.nan if one == 0 or math.isnan(one) else math.copysign(math.inf, one) * math.copysign(1, other)


def negative(value: Any) -> Any:
    if kind(value) == "int":
        return whole(-value)
    if kind(value) == "double":
        return -value
    raise CelError(f"there is no - {kind(value)}")


def ordered(sign: str, one: Any, other: Any, meter: Meter) -> bool:
    """``< <= > >=``."""
    kinds = kind(one), kind(other)
    numbers = {"int", "double"}
    if not (
        numbers.issuperset(kinds)
        or (kinds[0] == kinds[1] and kinds[0] in ("string", "bytes", "bool", "timestamp", "duration"))
    ):
        raise CelError(f"there is no {kinds[0]} {sign} {kinds[1]}")
    if isinstance(one, str | bytes):
        meter.read(one)
    return _ORDER[sign](one, other)


def equal(one: Any, other: Any, meter: Meter) -> bool:
    """Values of different types differ, numbers apart."""
    if type(one) in _TEXTS and type(other) is type(one):
        meter.read(one)
        return bool(one == other)
    waiting = [(one, other)]
    while waiting:
        one, other = waiting.pop()
        meter.spend(1)
        if type(one) is type(other) and type(one) in _KINDS and type(one) not in _HOLDERS:
            if type(one) in _TEXTS:
                meter.read(one)
            if one != other:
                return False
            continue
        kinds = kind(one), kind(other)
        if kinds == ("map", "map"):
            if len(one) != len(other) or any(key not in other for key in one):
                return False
            waiting += ((value, other[key]) for key, value in one.items())
        elif kinds == ("list", "list"):
            if len(one) != len(other):
                return False
            waiting += zip(one, other, strict=True)
        elif not (kinds[0] == kinds[1] or {"int", "double"}.issuperset(kinds)) or one != other:
            return False
    return True


def within(one: Any, other: Any, meter: Meter) -> bool:
    """``in`` a list, or a map's keys."""
    if kind(other) == "list":
        if type(one) in _TEXTS:
            meter.spend(len(other))
            return one in other
        return any(equal(one, item, meter) for item in other)
    if kind(other) == "map":
        if kind(one) in ("list", "map", "double"):
            raise CelError(f"a {kind(one)} can't be a key of a map")
        return one in other
    raise CelError(f"there is no {kind(one)} in {kind(other)}")


def element(of: Any, index: Any) -> Any:
    """``of[index]``."""
    if kind(of) == "list" and kind(index) == "int":
        if 0 <= index < len(of):
            return of[index]
        raise CelError(f"there is no element {index} in a list of {len(of)}")
    if kind(of) == "map" and isinstance(index, str | int):
        if index in of:
            return of[index]
        raise CelError(f"there is no {index!r}")
    raise CelError(f"there is no {kind(of)}[{kind(index)}]")


# -- functions, all with a meter as their last argument


def size(value: Any, _meter: Meter) -> int:
    if kind(value) in ("list", "map", "string", "bytes"):
        return len(value)
    raise CelError(f"there is no size({kind(value)})")


def total(values: Any, meter: Meter) -> Any:
    if kind(values) != "list":
        raise CelError(f"there is no sum({kind(values)})")
    meter.spend(len(values))
    kinds = {kind(value) for value in values}
    if kinds <= {"int"}:
        return whole(sum(values))
    if kinds <= {"int", "double"} or kinds == {"decimal"}:
        return sum(values)
    raise CelError(f"sum() can't add {' and '.join(sorted(kinds))}")


def to_int(value: Any, meter: Meter) -> int:
    try:
        if kind(value) == "string":
            meter.read(value)
            digits = value.removeprefix("-").removeprefix("+")
            if not (digits.isascii() and digits.isdecimal()) or len(value) > 20:
                raise CelError(f"the {told(value)} is not a whole number")
            return whole(int(value))
        if kind(value) == "timestamp":
            return int(value.timestamp())
        if kind(value) in ("int", "double"):
            return whole(int(value))
    except (ValueError, OverflowError) as error:
        raise CelError(str(error)) from error
    raise CelError(f"there is no int({kind(value)})")


def to_uint(value: Any, meter: Meter) -> int:
    found = to_int(value, meter)
    if found < 0:
        raise CelError("a uint is below 0")
    return found


def to_double(value: Any, meter: Meter) -> float:
    try:
        if kind(value) in ("int", "double"):
            return float(value)
        if kind(value) == "string":
            meter.read(value)
            return float(value)
    except (ValueError, OverflowError):
        raise CelError(f"the {told(value)} is not a number") from None
    raise CelError(f"there is no double({kind(value)})")


def to_bool(value: Any, _meter: Meter) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "True", "TRUE", "t", "1"):
        return True
    if value in ("false", "False", "FALSE", "f", "0"):
        return False
    raise CelError(f"there is no bool({kind(value)})")


def to_bytes(value: Any, meter: Meter) -> bytes:
    if kind(value) in ("string", "bytes"):
        meter.build(len(value))
        return value.encode() if isinstance(value, str) else bytes(value)
    raise CelError(f"there is no bytes({kind(value)})")


def to_string(value: Any, meter: Meter) -> str:
    found = _text(value)
    meter.build(len(found))
    return found


def _text(value: Any) -> str:
    name = kind(value)
    if name == "string":
        return str(value)
    if name == "bool":
        return "true" if value else "false"
    if name == "int":
        return str(value)
    if name == "double":
        return format(Decimal(repr(value)), "f").removesuffix(".0") if math.isfinite(value) else repr(value)
    if name == "bytes":
        return bytes(value).decode("utf-8", "replace")
    if name == "timestamp":
        millis = value.microsecond % 1000 == 0
        spec = "milliseconds" if value.microsecond and millis else "auto"
        return str(value.isoformat(timespec=spec))
    if name == "duration":
        return _duration_text(value)
    raise CelError(f"there is no string({name})")


def _duration_text(value: timedelta) -> str:
    """As Go writes it: ``1h0m0s``, ``1m30s``, ``1.5s``, ``250ms``."""
    micros = value // timedelta(microseconds=1)
    sign, micros = ("-" if micros < 0 else ""), abs(micros)
    if micros < 1_000_000:
        if micros == 0:
            return "0s"
        return f"{sign}{micros}µs" if micros < 1000 else f"{sign}{_short(micros, 1000)}ms"
    minutes, rest = divmod(micros, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{_short(rest, 1_000_000)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else f"{sign}{text}"


def _short(number: int, by: int) -> str:
    return f"{number // by}{f'.{number % by:0{len(str(by)) - 1}d}'.rstrip('0').rstrip('.')}"


def starts_with(value: Any, other: Any, meter: Meter) -> bool:
    return bool(_texts("startsWith", value, other, meter).startswith(other))


def ends_with(value: Any, other: Any, meter: Meter) -> bool:
    return bool(_texts("endsWith", value, other, meter).endswith(other))


def contains(value: Any, other: Any, meter: Meter) -> bool:
    return other in _texts("contains", value, other, meter)


def _texts(name: str, value: Any, other: Any, meter: Meter) -> str:
    if kind(value) != "string" or kind(other) != "string":
        raise CelError(f"there is no {kind(value)}.{name}({kind(other)})")
    meter.read(value)
    return str(value)
