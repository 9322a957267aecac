"""Is the schema of each message known, and does the message go where messages of its kind go?"""

from __future__ import annotations

from kantor_orchestrator.definitions import words
from kantor_orchestrator.definitions.own_messages import UNHEARD, own
from kantor_orchestrator.definitions.problem import Findings, Path, nearest
from kantor_orchestrator.definitions.scopes import Scopes
from kantor_schemas import topic_of

#: How the names of topics of events begin: intake reads those, and a service never takes them for commands.
_EVENTS = "evt."
#: And those of the platform's own topics (wire-1): what else is in there would be taken for its state, or its definitions.
_PLATFORM = "sys.kantor."


class MessageCheck:
    """Each method says whether a message can be used so, and reports a problem, at the first of ``paths`` that is written, if not."""

    def __init__(self, scopes: Scopes, found: Findings) -> None:
        self._catalog = scopes.schemas
        self._routes = scopes.saga.commands
        self._found = found

    def exists(self, type_: str, *paths: Path) -> bool:
        """Its schema is known, and its topic is not the platform's own."""
        if type_ in self._catalog:
            return not (self._is_for_platform(type_, *paths) or self._is_nowhere(type_, *paths))
        near = nearest(type_, [name for name in self._catalog if name not in own()])
        remedy = f"did you mean {near}?" if near else "add its .avsc file to a folder that --schemas names"
        self._found.add(f"no schema for {type_}", remedy, *paths)
        return False

    def command(self, type_: str, topic: str | None, *paths: Path) -> bool:
        """It exists, and goes where commands go. ``topic``: as the step says."""
        if not self.exists(type_, *paths):
            return False
        route = self._routes.get(type_)
        where = topic or (route.topic if route else None) or self._catalog[type_].get("kantor.topic", "")
        if not where.startswith(_EVENTS):
            return True
        what = f"{type_} is a command, but would be sent to {where}: from there, services and intake take it for an event that somebody made up"
        self._found.add(
            what, "send it to a cmd.<service>.v1 topic, or name the command of that service", *paths
        )
        return False

    def event(self, type_: str, *paths: Path) -> bool:
        """It exists, and intake reads its topic."""
        if not self.exists(type_, *paths):
            return False
        if type_ in UNHEARD:
            self._found.add(
                f"{type_} is what Kantor itself sends, and nothing waits for that",
                "name an event that a service sends; a step of kind `saga` waits for the end of its child by itself",
                *paths,
            )
            return False
        topic = self._catalog[type_].get("kantor.topic", "")
        if type_ in own() or topic.startswith(_EVENTS):
            return True
        namespace = type_.rpartition(".")[0].rpartition(".")[2]
        what = f"{type_} is an event, but its schema names no topic, so it would be sent as a command"
        if topic:
            what = f"{type_} is an event, but is sent to {topic}: Kantor reads events only from {_EVENTS}* topics"
        remedy = f'write "kantor.topic": "{_EVENTS}{namespace}.v1", or another topic that begins with {_EVENTS}, in its .avsc file'
        self._found.add(what, remedy, *paths)
        return False

    def _is_for_platform(self, type_: str, *paths: Path) -> bool:
        topic = self._catalog[type_].get("kantor.topic", "")
        if not topic.startswith(_PLATFORM):
            return False
        what = f"{type_} is sent to {topic}: topics that begin with {_PLATFORM} are for the platform alone"
        self._found.add(
            what, 'write another "kantor.topic" in its .avsc file, such as "cmd.<service>.v1"', *paths
        )
        return True

    def _is_nowhere(self, type_: str, *paths: Path) -> bool:
        topic = topic_of(self._catalog[type_])
        if words.is_topic(topic):
            return False
        what = f"{type_} is sent to {topic!r}, which is not a topic name"
        self._found.add(what, f'{words.TOPICS}: write another "kantor.topic" in its .avsc file', *paths)
        return True
