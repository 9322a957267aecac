"""Putting definitions on the topic from which every role reads them.

A deployed version never changes (wire-23): transactions run on it. Deploying the same again changes nothing (and makes topics and
schemas that are missing); another content needs a higher version. Deployments are one after the other: each takes the
transactional id of the last one, which fences it.

What would leave live transactions with messages that can't be built or understood any more is refused with their count
(``stranding``). One that starts on a version in the moment between the count and the deployment is not seen; what it
can't send becomes an incident, which is visible.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kantor import topics as kit_topics
from kantor.clients import Clients, Producer, TopicSpec
from kantor.codec import Codec, SchemaStore
from kantor.errors import DefinitionError, FencedError
from kantor_orchestrator.definitions import bundle as bundles
from kantor_orchestrator.definitions import living, meaning
from kantor_orchestrator.definitions.bundle import Bundle
from kantor_orchestrator.definitions.catalogue import Definitions, DefinitionsTopic
from kantor_orchestrator.definitions.check import check, same_start
from kantor_orchestrator.definitions.children import children_of, started_by
from kantor_orchestrator.definitions.living import Living, Tell
from kantor_orchestrator.definitions.problem import Problem
from kantor_orchestrator.definitions.reading import Written
from kantor_orchestrator.definitions.stranding import Broken, Stranded, StrandingError, broken
from kantor_orchestrator.formats import topics
from kantor_schemas import Schema

#: Whoever deploys owns it: a deployment that is still under way can't write any more.
_TRANSACTIONAL_ID = "kantor-deploy"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one definition. Unchanged: it was deployed already, at ``bundle.deployed_at``."""

    bundle: Bundle
    changed: bool


@dataclass(frozen=True, slots=True)
class Deployment:
    """What was done. ``topics``: those that were created."""

    outcomes: list[Outcome]
    topics: list[str]


def plan(
    written: Sequence[Written], catalog: Mapping[str, Schema], deployed: Definitions, now: int
) -> list[Outcome]:
    """What deploying would do at ``now`` (ms). Raises ``DefinitionError`` with every problem."""
    known = {found.model.saga: found.model for found in deployed.latest()}
    problems = check(written, catalog, known.values())
    if problems:
        raise DefinitionError([str(problem) for problem in problems])
    ordered = sorted(written, key=lambda one: (one.model.saga, one.model.version))
    latest = {found.model.saga: found.model for found in deployed.latest()}
    children = children_of({**known, **{one.model.saga: one.model for one in ordered}}.values(), catalog)
    outcomes = []
    for one in ordered:
        wanted = bundles.bundle(one.model, catalog, now, children)
        there = deployed.bundle(one.model.saga, one.model.version)
        highest = latest.get(one.model.saga)
        is_lost = wanted.key in deployed.unread  # its record has to be written again
        if there is not None and there.says_the_same(wanted):
            outcomes.append(Outcome(there, changed=is_lost))
        elif there is not None or (
            highest is not None and highest.version > one.model.version and not is_lost
        ):
            assert highest is not None
            problems.append(_taken(one, there, wanted, highest.version))
        else:
            outcomes.append(Outcome(wanted, changed=True))
            if highest is None or highest.version < one.model.version:
                latest[one.model.saga] = one.model
    for one in ordered:
        if latest.get(one.model.saga) == one.model:
            problems += [
                same_start(one, other.saga)
                for other in latest.values()
                if other.starts_on == one.model.starts_on and other.saga != one.model.saga
            ]
    if problems:
        raise DefinitionError([str(problem) for problem in sorted(problems)])
    return outcomes


def _taken(one: Written, there: Bundle | None, wanted: Bundle, highest: int) -> Problem:
    name = f"{one.model.saga} version {one.model.version}"
    if there is None:
        what = f"{name} is older than version {highest}, which is deployed"
    elif there.model != one.model:
        what = f"{name} is deployed with different content, and a deployed version never changes"
    else:
        changed = [
            type_
            for type_ in wanted.messages
            if not there.says_the_same(
                Bundle(there.model, 0, {**there.messages, type_: wanted.messages[type_]}, there.children)
            )
        ]
        others = f"schemas ({', '.join(changed)})" if changed else f"children ({', '.join(wanted.children)})"
        what = f"{name} is deployed with different {others}, and a deployed version never changes"
    return Problem(one.places.at(("version",)), what, f"make it version {highest + 1}")


def silent(_: str) -> None:
    """Nobody hears how far it is."""


def deploy(
    written: Sequence[Written],
    catalog: Mapping[str, Schema],
    clients: Clients,
    schemas: SchemaStore,
    *,
    now: int | None = None,
    tell: Tell = silent,
) -> Deployment:
    """Check, create missing topics, register schemas, write the definitions. All or none of them are deployed. ``tell``
    hears how far it is with what takes long.

    Raises ``DefinitionError`` with every problem (nothing was done; ``StrandingError`` if live transactions could not go
    on), ``KafkaUnavailableError`` or ``RegistryUnavailableError`` (nothing is deployed: deploy again), ``FencedError``
    (somebody else deployed meanwhile).
    """
    now = int(time.time() * 1000) if now is None else now
    if _is_complete(written):
        plan(written, catalog, Definitions(), now)  # what is wrong anyway is told before Kafka is asked
    admin = clients.admin("kantor-deploy")
    admin.create_topics([spec for spec in topics.specs(1, 0) if spec.name == topics.DEFINITIONS])
    codec = Codec(schemas)
    producer = writer(clients)
    deployed = read(clients, codec)
    refuse_newer(deployed)
    outcomes = plan(written, catalog, deployed, now)
    changed = [outcome.bundle for outcome in outcomes if outcome.changed]
    stranding = broken(deployed, Definitions([*deployed.bundles(), *changed])) if changed else []
    if stranding:
        refuse_stranding(stranding, living.count(clients, codec, {one.key for one in stranding}, tell))
    created = admin.create_topics(_specs([outcome.bundle for outcome in outcomes]))
    for outcome in outcomes:
        for message in outcome.bundle.messages.values():
            if message.topic:
                schemas.id_of(message.schema, message.topic)
    write(producer, {bundle.key.encode(): bundles.encode(bundle, codec) for bundle in changed})
    return Deployment(outcomes, sorted(created))


def refuse_newer(there: Definitions) -> None:
    """Raises ``DefinitionError`` if a newer Kantor has deployed something: what would fit it is not known here."""
    if newer := [one for one in there.unread.values() if one.is_newer]:
        raise DefinitionError([f"{one.what}; {one.remedy}" for one in newer])


def refuse_stranding(found: Sequence[Broken], there: Living) -> None:
    """Raises ``StrandingError`` if a broken version has live transactions, or starts new ones."""
    stranded = [Stranded(one, there.alive[one.key]) for one in found]
    if stranded := [one for one in stranded if one.count or one.broken.is_in_force]:
        raise StrandingError(stranded)


def writer(clients: Clients) -> Producer:
    """Whoever wrote before can't write any more."""
    producer = clients.producer("kantor-deploy", transactional_id=_TRANSACTIONAL_ID, linger_ms=0)
    producer.init_transactions()
    return producer


def write(producer: Producer, records: Mapping[bytes, bytes | None]) -> None:
    """All of these records, by key, or none; None removes a definition. Raises ``FencedError``: somebody else has begun to write."""
    if not records:
        return
    try:
        producer.begin()
        for key, value in records.items():
            headers = [("content-type", b"application/avro")] if value is not None else None
            producer.produce(topics.DEFINITIONS, value, key, headers, 0)
        producer.commit()
    except FencedError as error:
        raise FencedError(
            "somebody else deployed or removed definitions at the same moment, and nothing of this was done: look at "
            "`kantor definitions`, and run it again"
        ) from error


def _is_complete(written: Sequence[Written]) -> bool:
    """Whether all child sagas are among these definitions, so that nothing deployed is needed to check them."""
    here = {one.model.saga for one in written}
    return all(here.issuperset(started_by(one.model)) for one in written)


def read(clients: Clients, codec: Codec, timeout: float = 30.0) -> Definitions:
    """What is deployed now. Raises as ``DefinitionsTopic.load``."""
    reader = DefinitionsTopic(clients, codec, "kantor-definitions")
    try:
        return reader.load(timeout)
    finally:
        reader.close()


def _specs(found: Sequence[Bundle]) -> list[TopicSpec]:
    """The topics of all messages, and those where the services involved say that they failed."""
    names = {message.topic for bundle in found for message in bundle.messages.values() if message.topic}
    names |= {
        f"evt.{service}.failure.v1"
        for bundle in found
        for service in meaning.services(bundle.model, bundle.children)
    }
    names -= {
        topics.ENDED,
        topics.OWN_COMMANDS,
    }  # the platform makes them, with as many partitions as it has shards
    return [TopicSpec(name, kit_topics.partitions()) for name in sorted(names)]
