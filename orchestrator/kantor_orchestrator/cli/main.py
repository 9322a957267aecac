"""``kantor``: the program. Data on stdout, messages on stderr.

Exit codes: 0 done, 1 failed, 2 wrong usage or setting, 4 not found.

A command is imported when somebody asks for it: what all of them need takes more than a second to import, and each role
of ``kantor run`` is this program once more.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any

import click

from kantor.errors import ConfigError, KantorError, NotFoundError
from kantor_orchestrator.core.act_kinds import KINDS, ON_SAGAS

#: By name, where each command is: the module of this package, and its name there, or that of commands by name.
_PLACES = {
    "dev": ("dev", "dev"),
    "run": ("run", "run"),
    "trace": ("trace", "trace"),
    "view": ("view", "view"),
    "list": ("listing", "list_"),
    "incidents": ("incidents", "incidents"),
    "status": ("status", "status"),
    **dict.fromkeys((*KINDS, *ON_SAGAS), ("acts", "COMMANDS")),
    "bulk": ("bulk", "bulk"),
    "lint": ("definitions", "lint"),
    "deploy": ("definitions", "deploy"),
    "undeploy": ("definitions", "undeploy"),
    "definitions": ("definitions", "definitions"),
    "diagram": ("definitions", "diagram"),
    "completion": ("completion", "completion"),
    "token": ("token", "token"),
}


class _Commands(MutableMapping[str, click.Command]):
    """As click wants to be given commands; names are known without an import."""

    def __init__(self) -> None:
        self._found: dict[str, click.Command | None] = dict.fromkeys(_PLACES)

    def __getitem__(self, name: str) -> click.Command:
        found = self._found[name]
        if found is None:
            module, attribute = _PLACES[name]
            there = getattr(import_module(f"kantor_orchestrator.cli.{module}"), attribute)
            found = self._found[name] = there if isinstance(there, click.Command) else there[name]
        return found

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._found[name] = command

    def __delitem__(self, name: str) -> None:
        del self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


class _WrongUse(click.ClickException):
    exit_code = 2


class _NotFound(click.ClickException):
    exit_code = 4


class Program(click.Group):
    """What Kantor raises on purpose ends with its message and an exit code (wire-22), without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise _WrongUse(str(error)) from error
        except NotFoundError as error:
            raise _NotFound(str(error)) from error
        except KantorError as error:
            raise click.ClickException(str(error)) from error
        except (
            UnicodeEncodeError
        ) as error:  # half a surrogate pair: what a terminal makes of a byte that is not UTF-8
            if not any("\ud800" <= sign <= "\udfff" for sign in error.object):
                raise
            raise _WrongUse(f"not text in UTF-8: {error.object!r:.200}; give it as that") from error


@click.group(cls=Program, commands=_Commands())
@click.version_option(package_name="kantor", prog_name="kantor")
def main() -> None:
    """Kantor: transactions that span many services, on Kafka."""


if __name__ == "__main__":
    main()
