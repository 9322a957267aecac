"""`kantor deploy`, `kantor lint`, `kantor definitions`, `kantor diagram`. Data on stdout, messages on stderr.

Exit codes: 0 done, 1 failed (problems were found, Kafka did not answer), 2 wrong usage or setting. What Kantor raises on
purpose is told by ``cli.main``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NoReturn

import click

from kantor.codec import Codec
from kantor.envelope import rfc3339
from kantor.errors import DefinitionError
from kantor.kafka import KafkaSettings
from kantor.schemas import schema_store
from kantor_orchestrator.cli.output import say, silence_clients
from kantor_orchestrator.config import Settings
from kantor_orchestrator.definitions import deploy as deploying
from kantor_orchestrator.definitions import files as definition_files
from kantor_orchestrator.definitions import undeploy as undeploying
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.definitions.check import check
from kantor_orchestrator.definitions.diagram import mermaid
from kantor_orchestrator.definitions.diagram_svg import svg
from kantor_orchestrator.definitions.reading import Reading
from kantor_orchestrator.definitions.stranding import StrandingError
from kantor_orchestrator.formats import topics
from kantor_orchestrator.view.as_json import definition
from kantor_schemas import Catalog, SchemaFileError

ENV_SCHEMAS = "KANTOR_SCHEMAS"

_files = click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
_schemas = click.option(
    "--schemas",
    "folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help=f"A folder with .avsc files; may be repeated. Default: ${ENV_SCHEMAS}, else ./schemas.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


@click.command()
@_files
@_schemas
@_as_json
def lint(files: tuple[Path, ...], folders: tuple[Path, ...], as_json: bool) -> None:
    """Check definitions against the schemas of their messages; deploy nothing."""
    reading = definition_files.read(files)
    problems = sorted(reading.problems + check(reading.written, _catalog(folders)))
    if as_json:
        _print_json([problem.as_json() for problem in problems])
    else:
        for problem in problems:
            click.echo(str(problem))
    click.echo(_count(len(problems), "problem") if problems else _passed(reading), err=True)
    if problems:
        raise click.exceptions.Exit(1)


@click.command()
@_files
@_schemas
@_as_json
def deploy(files: tuple[Path, ...], folders: tuple[Path, ...], as_json: bool) -> None:
    """Check definitions and deploy them, all or none.

    A deployed version never changes: changed content needs a higher version. Refused while transactions on other versions
    could not go on with the schemas of this one; the refusal says how many.
    """
    reading = definition_files.read(files)
    catalog = _catalog(folders)
    if reading.problems:  # tell those of all files at once
        reading.problems += check(reading.written, catalog)
    try:
        written = reading.models()
        kafka = _kafka()
        done = deploying.deploy(written, catalog, kafka, schema_store(kafka), tell=say)
    except DefinitionError as error:
        _refused(error, as_json)
    for topic in done.topics:
        click.echo(f"created topic {topic}", err=True)
    if as_json:
        _print_json([definition(outcome.bundle) | {"changed": outcome.changed} for outcome in done.outcomes])
        return
    for outcome in done.outcomes:
        model = outcome.bundle.model
        since = f"unchanged since {rfc3339(outcome.bundle.deployed_at)}"
        click.echo(f"{model.saga} version {model.version}: {'deployed' if outcome.changed else since}")


@click.command()
@click.argument("saga", required=False)
@click.argument("version", type=click.IntRange(min=1), required=False)
@click.option("--all", "whole", is_flag=True, help="Remove the whole saga: nothing starts it any more.")
@click.option(
    "--unreadable", is_flag=True, help="Remove what no Kantor can read; what a newer one deployed stays."
)
@_as_json
def undeploy(saga: str | None, version: int | None, whole: bool, unreadable: bool, as_json: bool) -> None:
    """Remove a version that nothing needs any more, or, with --all, the whole saga.

    Refused while it has live transactions, or ended ones that are kept for late messages. Before --all, stop what starts the
    saga.
    """
    if unreadable:
        if saga is not None or whole:
            raise click.UsageError("--unreadable goes alone: kantor undeploy --unreadable")
        _discard(as_json)
        return
    if saga is None:
        raise click.UsageError("name the saga: kantor undeploy SAGA VERSION")
    if whole == (version is not None):
        raise click.UsageError(f"give either a version or --all: kantor undeploy {saga} VERSION")
    kafka = _kafka()
    try:
        removed = undeploying.undeploy(saga, version, kafka, schema_store(kafka), tell=say)
    except DefinitionError as error:
        _refused(error, as_json)
    if as_json:
        _print_json([definition(bundle) for bundle in removed])
        return
    for bundle in removed:
        click.echo(f"{bundle.model.saga} version {bundle.model.version}: removed")


def _discard(as_json: bool) -> None:
    kafka = _kafka()
    try:
        removed = undeploying.discard(kafka, schema_store(kafka), tell=say)
    except DefinitionError as error:
        _refused(error, as_json)
    if as_json:
        _print_json([{"key": one.name, "place": one.place, "reason": one.why} for one in removed])
        return
    for one in removed:
        click.echo(f"{one.name} at {one.place}: removed")
    if not removed:
        click.echo("everything can be read, or a newer Kantor deployed it", err=True)


def _kafka() -> KafkaSettings:
    silence_clients()
    return Settings.from_env().kafka


def _refused(error: DefinitionError, as_json: bool) -> NoReturn:
    """Nothing was done: in JSON, the problems are the data."""
    if as_json:
        stranded = error.stranded if isinstance(error, StrandingError) else []
        _print_json({"problems": error.problems, "stranded": [one.as_json() for one in stranded]})
    raise error


@click.command()
@_as_json
def definitions(as_json: bool) -> None:
    """List what is deployed."""
    there = _deployed(Settings.from_env().kafka)
    for one in there.unread.values():
        click.echo(f"{one.what}; {one.remedy}", err=True)
    found = there.bundles()
    if as_json:
        _print_json([definition(bundle) for bundle in found])
        return
    for bundle in found:
        model = bundle.model
        click.echo(
            f"{model.saga} version {model.version}: starts on {model.starts_on}, "
            f"{_count(len(model.steps), 'step')}, deployed {rfc3339(bundle.deployed_at)}"
        )
    if not found:
        click.echo("nothing is deployed yet; deploy a saga with `kantor deploy FILE`", err=True)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--saga", help="Which saga, if the file holds several.")
@click.option("--format", "form", type=click.Choice(["svg", "mermaid"]), default="svg", show_default=True)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file instead of stdout."
)
def diagram(file: Path, saga: str | None, form: str, out: Path | None) -> None:
    """Draw a definition. Needs no schemas. Leaves out what is wrong, such as a cycle: `kantor lint` reports it."""
    models = [one.model for one in definition_files.read([file]).models()]
    chosen = [model for model in models if saga in (None, model.saga)]
    if len(chosen) != 1:
        names = ", ".join(model.saga for model in models)
        raise click.UsageError(f"{file} holds {names}; name one of them with --saga")
    drawn = svg(chosen[0]) if form == "svg" else mermaid(chosen[0])
    if out is None:
        click.echo(drawn, nl=False)
    else:
        out.write_text(drawn, encoding="utf-8")
        click.echo(f"wrote {out}", err=True)


def _deployed(kafka: KafkaSettings) -> Definitions:
    if topics.DEFINITIONS not in kafka.admin().topics():
        return Definitions()
    return deploying.read(kafka, Codec(schema_store(kafka)))


def _catalog(folders: tuple[Path, ...]) -> Catalog:
    """The schemas in ``--schemas``, else in $KANTOR_SCHEMAS, else in ./schemas."""
    named = os.environ.get(ENV_SCHEMAS, "")
    chosen = list(folders) or [Path(folder) for folder in named.split(os.pathsep) if folder]
    if not chosen and Path("schemas").is_dir():
        chosen = [Path("schemas")]
    if not chosen:
        raise click.UsageError(
            f"no schemas: name their folder with --schemas or ${ENV_SCHEMAS}, or keep them in ./schemas"
        )
    try:
        return Catalog.load(*chosen)
    except SchemaFileError as error:
        raise click.ClickException(str(error)) from error


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _passed(reading: Reading) -> str:
    return f"{_count(len(reading.written), 'saga')}, no problems"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
