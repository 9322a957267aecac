"""Taking definitions off the topic, once nothing needs them.

A version whose definition is gone would stop the shard of the first transaction on it that something comes for. So none
may be left: neither alive nor ended and kept for what comes late; and what was sent before its successor was deployed
must have been processed, because it counts for the saga only by the older version.
"""

from __future__ import annotations

from kantor.clients import Clients
from kantor.codec import Codec, SchemaStore
from kantor.envelope import rfc3339
from kantor.errors import DefinitionError, NotFoundError
from kantor_orchestrator.definitions import bundle as bundles
from kantor_orchestrator.definitions import deploy as deploying
from kantor_orchestrator.definitions import living
from kantor_orchestrator.definitions.bundle import Bundle
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.definitions.living import Living, Tell
from kantor_orchestrator.definitions.stranding import broken
from kantor_orchestrator.definitions.unread import Unread
from kantor_orchestrator.formats import topics

#: Why nothing is removed though nothing is known that needs it.
_NOT_WHOLE = (
    "not all that was sent has been processed, and some of it may start transactions, or has; "
    "try again when the platform runs and has caught up: `kantor status`"
)


def undeploy(
    saga: str,
    version: int | None,
    clients: Clients,
    schemas: SchemaStore,
    *,
    tell: Tell = deploying.silent,
) -> list[Bundle]:
    """Remove one version, or (None) the whole saga; what was removed.

    Raises ``NotFoundError``; ``DefinitionError`` with the count if something needs what would be removed (nothing was
    done); as ``deploy`` otherwise.
    """
    if topics.DEFINITIONS not in clients.admin("kantor-undeploy").topics():
        raise NotFoundError("nothing is deployed")
    codec = Codec(schemas)
    producer = deploying.writer(clients)
    before = deploying.read(clients, codec)
    deploying.refuse_newer(before)
    removed = chosen(before, saga, version)
    keys = [bundle.key for bundle in removed]
    after = Definitions(bundle for bundle in before.bundles() if bundle.key not in keys)
    stranding = broken(before, after)
    found = living.count(clients, codec, {*keys, *(one.key for one in stranding)}, tell)
    deploying.refuse_stranding(stranding, found)
    problems = still_needed(removed, found, before, after)
    if problems:
        raise DefinitionError(problems)
    deploying.write(producer, dict.fromkeys(key.encode() for key in keys))
    if version is None:
        again = living.count(clients, codec, keys, tell)
        if again.alive or not again.is_whole:  # they started in the moment between, or may have
            deploying.write(producer, {b.key.encode(): bundles.encode(b, codec) for b in removed})
            problems = still_needed(removed, again, before, after)
            raise DefinitionError([f"{problem}; it is deployed again" for problem in problems])
    return removed


def discard(clients: Clients, schemas: SchemaStore, *, tell: Tell = deploying.silent) -> list[Unread]:
    """Remove every record that no Kantor can read; what was removed. What a newer Kantor deployed stays.

    Raises ``DefinitionError`` if transactions are on a version whose record it is (nothing was done); as ``deploy`` otherwise.
    """
    codec = Codec(schemas)
    producer = deploying.writer(clients)
    removed = [one for one in deploying.read(clients, codec).unread.values() if not one.is_newer]
    if not removed:
        return []
    found = living.count(clients, codec, [one.name for one in removed], tell)
    problems = [
        f"{_many(count)} on {one.name}; deploy it again: `kantor deploy`"
        for one in removed
        if (count := found.alive[one.name] + found.ended[one.name])
    ]
    if not found.is_whole:
        problems.append(_NOT_WHOLE)
    if problems:
        raise DefinitionError(problems)
    deploying.write(producer, {one.key: None for one in removed})
    return removed


def chosen(there: Definitions, saga: str, version: int | None) -> list[Bundle]:
    """The bundles that are meant. Raises ``NotFoundError``, or ``DefinitionError`` for the version in force alone."""
    found = [bundle for bundle in there.bundles() if bundle.model.saga == saga]
    versions = [bundle.model.version for bundle in found]
    if not found:
        names = ", ".join(bundle.model.saga for bundle in there.latest()) or "none"
        raise NotFoundError(f"no saga {saga} is deployed; there are: {names}")
    if version is None:
        return found
    if version not in versions:
        raise NotFoundError(
            f"{saga} version {version} is not deployed; there are: {', '.join(map(str, versions))}"
        )
    if version == versions[-1]:
        what = f"{saga} version {version} is in force: {found[-1].model.starts_on} starts it"
        raise DefinitionError([f"{what}; deploy a newer version first, or remove the whole saga with --all"])
    return [bundle for bundle in found if bundle.model.version == version]


def still_needed(removed: list[Bundle], found: Living, before: Definitions, after: Definitions) -> list[str]:
    """What needs them, and the remedy."""
    problems = []
    for bundle in removed:
        model = bundle.model
        name, option = (
            f"{model.saga} version {model.version}",
            f"--saga {model.saga} --version {model.version}",
        )
        if alive := found.alive[bundle.key]:
            problems.append(
                f"{_many(alive)} alive on {name}; let {'it' if alive == 1 else 'them'} end first: `kantor list {option}`"
            )
        if ended := found.ended[bundle.key]:
            problems.append(
                f"{_many(ended)} ended on {name} and kept for messages that come late (24 h, 30 days if compensated); "
                "try again then"
            )
    if removed[0].model.saga not in {b.model.saga for b in after.bundles()}:
        return problems if found.is_whole else [*problems, f"{removed[0].model.saga}: {_NOT_WHOLE}"]
    since = _counts_since(removed, before, after)
    if found.clock < since:
        done = rfc3339(found.clock) if found.clock else "an unknown time"
        problems.append(
            f"what was sent before {rfc3339(since)} counts for {removed[0].model.saga} only by "
            f"version {removed[0].model.version}, and has been processed up to {done}; "
            "try again when the platform has caught up: `kantor status`"
        )
    return problems


def _counts_since(removed: list[Bundle], before: Definitions, after: Definitions) -> int:
    """From when on (ms) a message means the same without what is removed."""
    following = [
        bundle.deployed_at
        for bundle in after.bundles()
        if bundle.model.saga == removed[0].model.saga and bundle.model.version > removed[0].model.version
    ]
    later = [since for type_, since in after.named.items() if since > before.named.get(type_, since)]
    return max([min(following), *later])


def _many(count: int) -> str:
    return "1 transaction is" if count == 1 else f"{count:,} transactions are"
