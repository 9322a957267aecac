"""Deployed definitions: the record, what every role sees of them, and what may be deployed."""

from __future__ import annotations

import json

import pytest

from kantor.codec import Codec, MemorySchemas
from kantor.errors import DefinitionError
from kantor_orchestrator.definitions import bundle as bundles
from kantor_orchestrator.definitions import deploy as deploying
from kantor_orchestrator.definitions.bundle import Bundle, bundle, compile_definition
from kantor_orchestrator.definitions.catalogue import Changes, Definitions, Take
from kantor_orchestrator.definitions.compile import compile_saga
from kantor_orchestrator.definitions.deploy import Outcome, plan
from kantor_orchestrator.formats import topics
from kantor_schemas import Catalog, Schema, system
from unit.definitions_kit import ORDER, SCHEMAS, order, read, record

V1 = ORDER
V2 = order(line_2="version: 2", line_16="    fails_on: [parcel.Unavailable, parcel.Lost]")
OTHER = order(line_1="saga: other", line_3="starts_on: shop.Wished")
ALL = Catalog(
    [
        *SCHEMAS.values(),
        record("parcel.Lost", "evt.parcel.parcel.v1", order_id="string", reason="string"),
        record("shop.Wished", "evt.shop.wish.v1", order_id="string", sku="string"),
    ]
)


def deployed(text: str, at: int = 1_000) -> Bundle:
    return bundle(read(text).models()[0].model, ALL, at)


# -- the record


def test_record_round_trip() -> None:
    """A record holds the definition and the schemas of all that it names."""
    codec, wanted = Codec(MemorySchemas()), deployed(V1)
    assert bundles.decode(bundles.encode(wanted, codec), codec) == wanted


def test_record_is_self_contained() -> None:
    """The definition compiles from its record alone, as from the schema files."""
    codec = Codec(MemorySchemas())
    found = compile_definition(bundles.decode(bundles.encode(deployed(V1), codec), codec))
    assert found == compile_saga(read(V1).models()[0].model, SCHEMAS, 1_000)


def test_record_names_topics() -> None:
    """Each message has its topic: the schema's, a command's default, of an event or a command."""
    messages = deployed(V2).messages
    assert [messages[t].topic for t in ("shop.Ordered", "parcel.Book", "parcel.Lost")] == [
        "evt.shop.order.v1",
        "cmd.parcel.v1",
        "evt.parcel.parcel.v1",
    ]


def test_record_of_a_newer_kantor() -> None:
    """A definition that this version can't read is refused, so that nobody runs half of it."""
    codec, found = Codec(MemorySchemas()), deployed(V1)
    definition = json.loads(found.model.model_dump_json()) | {"colour": "red"}
    value = codec.encoder(system("Definition"), topics.DEFINITIONS)(
        {
            "saga": "order",
            "version": 1,
            "deployed_at": 1,
            "definition": json.dumps(definition),
            "messages": {},
        }
    )
    with pytest.raises(DefinitionError, match="definition order/1: the definition: unknown word `colour`"):
        bundles.decode(value, codec)


# -- what every role sees


def test_finds_by_name_and_version() -> None:
    """A saga is found by name and version; unknown ones are None."""
    definitions = Definitions([deployed(V1), deployed(V2)])
    found = definitions.saga("order", 1)
    assert found is not None
    assert (found.name, found.version) == ("order", 1)
    assert definitions.saga("order", 3) is None


def test_latest_version_starts() -> None:
    """An event starts the latest version of its saga (saga-4)."""
    found = Definitions([deployed(V2, 2_000), deployed(V1)]).starting_with("shop.Ordered")
    assert found is not None
    assert found.version == 2


def test_start_from_before_the_latest_version() -> None:
    """A start that was sent before the latest version was deployed still counts: its saga was in force already."""
    found = Definitions([deployed(V1, 1_000), deployed(V2, 2_000)]).starting_with("shop.Ordered")
    assert found is not None
    assert (found.version, found.deployed_at) == (2, 1_000)


def test_superseded_version_starts_nothing() -> None:
    """A start event that the latest version gave up starts nothing."""
    moved = deployed(order(line_2="version: 2", line_3="starts_on: shop.Wished"), 2_000)
    definitions = Definitions([deployed(V1), moved])
    assert definitions.starting_with("shop.Ordered") is None
    assert definitions.starting_with("shop.Wished") is not None


def test_captures_of_all_sagas() -> None:
    """Of an event everything is captured that any version of any saga needs."""
    captures = Definitions([deployed(V1), deployed(V2), deployed(OTHER)]).captures
    assert captures["shop.Ordered"] == {"order_id", "sku"}
    assert captures["shop.Wished"] == {"order_id", "sku"}
    assert captures["parcel.Lost"] == {"reason"}


def test_named_since() -> None:
    """A type is named since the earliest deployment of a saga that it means something to."""
    named = Definitions([deployed(V1, 1_000), deployed(V2, 2_000)]).named
    assert (named["shop.Ordered"], named["parcel.Lost"]) == (1_000, 2_000)


def test_named_types() -> None:
    """Events, failures, confirmations and what a parent asks are named; commands are not: they come from us."""
    assert Definitions([deployed(V1)]).named.keys() == {
        "kantor.CompensateTransaction",
        "kantor.StepFailed",
        "parcel.Booked",
        "parcel.Cancelled",
        "parcel.Unavailable",
        "shop.Ordered",
        "stock.Rejected",
        "stock.Released",
        "stock.Reserved",
    }


def test_schema_and_topic() -> None:
    """Schema and topic of a message come from the definitions, of an unknown one there are none."""
    definitions = Definitions([deployed(V1)])
    assert definitions.schema("parcel.Book") == SCHEMAS["parcel.Book"]
    assert definitions.topic("parcel.Book") == "cmd.parcel.v1"
    assert (definitions.schema("weather.Rained"), definitions.topic("weather.Rained")) == (None, "")


def test_last_deployed_schema_wins() -> None:
    """Of two schemas of one type the one that was deployed last is used."""
    newer = record("parcel.Book", order_id="string", sku="string", shelf="string", gift=("boolean", False))
    model = read(order(line_2="version: 2")).models()[0].model
    later = bundle(model, Catalog([*SCHEMAS.values(), newer]), 2_000)
    assert Definitions([later, deployed(V1)]).schema("parcel.Book") == newer


def test_generation_grows_with_changes() -> None:
    """The generation grows when something changed, and only then."""
    definitions = Definitions([deployed(V1)])
    before = definitions.generation
    definitions.update([deployed(V1)])
    assert definitions.generation == before
    definitions.update([deployed(V2)])
    assert definitions.generation == before + 1


def test_removed_definition() -> None:
    """A definition whose record was deleted is gone."""
    definitions = Definitions([deployed(V1)])
    definitions.update([], ["order/1"])
    assert definitions.saga("order", 1) is None
    assert definitions.named == {}


class Feed:
    def __init__(self, *changes: Changes) -> None:
        self._changes = list(changes)
        self.closed = False

    def fresh(self) -> Changes:
        return self._changes.pop(0) if self._changes else Changes()

    def catch_up(self, take: Take) -> bool:
        take(self.fresh())
        return True

    def close(self) -> None:
        self.closed = True


def test_refresh() -> None:
    """A refresh takes in what came since and says whether something changed."""
    again = Changes([deployed(V1)])
    feed = Feed(again, Changes(), again, Changes(removed=["order/1"]))
    definitions = Definitions(source=feed)
    assert [definitions.refresh() for _ in range(5)] == [True, False, False, True, False]
    definitions.close()
    assert feed.closed


def test_refresh_without_source() -> None:
    """Definitions from an iterable never change by themselves."""
    assert not Definitions([deployed(V1)]).refresh()


# -- what may be deployed


def planned(text: str, *there: Bundle, catalog: Catalog = ALL) -> list[Outcome]:
    return plan(read(text).models(), catalog, Definitions(there), 9_000)


def refused(text: str, *there: Bundle, catalog: Catalog = ALL) -> list[str]:
    with pytest.raises(DefinitionError) as raised:
        planned(text, *there, catalog=catalog)
    return raised.value.problems


def test_first_deployment() -> None:
    """What is not there is deployed now."""
    assert [(o.changed, o.bundle.deployed_at) for o in planned(V1)] == [(True, 9_000)]


def test_same_again() -> None:
    """Deploying the same again changes nothing and keeps the time of the first deployment."""
    assert [(o.changed, o.bundle.deployed_at) for o in planned(V1, deployed(V1))] == [(False, 1_000)]


def test_same_again_after_a_later_version() -> None:
    """An older version that is deployed already may be deployed again: nothing changes."""
    assert [o.changed for o in planned(V1, deployed(V1), deployed(V2))] == [False]


def test_other_documentation() -> None:
    """What a schema's documentation says does not count."""
    documented: Schema = {**SCHEMAS["parcel.Book"], "doc": "Book a parcel."}
    assert [o.changed for o in planned(V1, deployed(V1), catalog=Catalog([*ALL.values(), documented]))] == [
        False
    ]


def test_other_content() -> None:
    """A deployed version never changes."""
    assert refused(order(line_4="deadline: 16m"), deployed(V1)) == [
        (
            "order.yaml:2:10: order version 1 is deployed with different content, and a deployed version never changes; "
            "make it version 2"
        )
    ]


def test_other_content_of_an_older_version() -> None:
    """The remedy is a version above all that are deployed."""
    assert refused(order(line_4="deadline: 16m"), deployed(V1), deployed(V2))[0].endswith("make it version 3")


def test_other_schema() -> None:
    """A schema that changed needs a new version too, and is named."""
    changed = record("parcel.Book", order_id="string", sku="string", shelf="string", gift=("boolean", False))
    assert refused(V1, deployed(V1), catalog=Catalog([*ALL.values(), changed])) == [
        (
            "order.yaml:2:10: order version 1 is deployed with different schemas (parcel.Book), "
            "and a deployed version never changes; make it version 2"
        )
    ]


def test_older_version() -> None:
    """Versions only grow."""
    assert refused(V1, deployed(V2)) == [
        "order.yaml:2:10: order version 1 is older than version 2, which is deployed; make it version 3"
    ]


def test_two_versions_at_once() -> None:
    """Several versions may be deployed together, in any order of writing."""
    assert [o.bundle.key for o in planned(f"{V2}\n---\n{V1}")] == ["order/1", "order/2"]


def test_start_of_a_deployed_saga() -> None:
    """A start event that a deployed saga has is taken."""
    assert refused(order(line_1="saga: other"), deployed(V1)) == [
        (
            "order.yaml:3:12: shop.Ordered also starts the saga order, and a transaction runs only one saga; "
            "start one of them on another event"
        )
    ]


def test_start_that_is_given_up() -> None:
    """A start event that the other saga's new version gives up is free."""
    moved = order(line_2="version: 2", line_3="starts_on: shop.Wished")
    found = planned(f"{order(line_1='saga: other')}\n---\n{moved}", deployed(V1))
    assert [o.bundle.key for o in found] == ["order/2", "other/1"]


def test_what_can_not_work_is_not_deployed() -> None:
    """A definition that does not pass the checks is refused with all problems."""
    assert len(refused(order(line_5="keys: [x]", line_11=""))) == 2


# -- children


CHILD = order(line_1="saga: child", line_3="starts_on: shop.Wished")
PARENT = order(line_1="saga: parent", line_13="    saga: child", line_14="", line_15="", line_16="")
PARENT = PARENT.replace("    compensate_with: parcel.Cancel\n    compensated_on: parcel.Cancelled", "")


def test_child_together() -> None:
    """A parent and its child are deployed together; the parent's record has the child's start and its schema."""
    written = [*read(PARENT).models(), *read(CHILD).models()]
    parent = next(o.bundle for o in plan(written, ALL, Definitions(), 1) if o.bundle.model.saga == "parent")
    assert parent.messages["shop.Wished"].schema == ALL["shop.Wished"]
    assert parent.children["child"].starts_on == "shop.Wished"
    assert compile_definition(parent).steps["parcel"].child == "child"


def test_child_that_is_deployed() -> None:
    """A child that is there already need not be deployed again."""
    child = bundle(read(CHILD).models()[0].model, ALL, 1)
    (outcome,) = plan(read(PARENT).models(), ALL, Definitions([child]), 2)
    assert outcome.bundle.children["child"].starts_on == "shop.Wished"


def test_child_that_nobody_deployed() -> None:
    """Without its child a parent is not deployed."""
    with pytest.raises(DefinitionError, match="step parcel runs the saga child, which is unknown"):
        plan(read(PARENT).models(), ALL, Definitions(), 1)


def test_parent_whose_child_changed_its_start() -> None:
    """A parent is another one when its child starts on something else: it needs a higher version."""
    child = bundle(read(CHILD).models()[0].model, ALL, 1)
    (first,) = plan(read(PARENT).models(), ALL, Definitions([child]), 2)
    moved = order(line_1="saga: child", line_2="version: 2", line_3="starts_on: shop.Hoped")
    schemas = Catalog([*ALL.values(), record("shop.Hoped", order_id="string", sku="string")])
    later = bundle(read(moved).models()[0].model, schemas, 3)
    with pytest.raises(DefinitionError, match="parent version 1 is deployed with different"):
        plan(read(PARENT).models(), schemas, Definitions([child, first.bundle, later]), 4)


def test_topics_of_tasks_and_calls() -> None:
    """What Kantor's own services listen to is made by a deployment; the platform's own topics are the platform's."""
    said = PARENT + "\n  look: {after: parcel, task: {title: Look, for: anybody}}\n  tell: {call: {url: u}}\n"
    written = [*read(said).models(), *read(CHILD).models()]
    bundles_ = [outcome.bundle for outcome in plan(written, ALL, Definitions(), 1)]
    names = {spec.name for spec in deploying._specs(bundles_)}
    own = {"cmd.kantor.task.v1", "evt.kantor.task.v1", "cmd.kantor.call.v1", "evt.kantor.call.v1"}
    assert {name for name in names if ".kantor." in name} == own


def test_record_of_an_older_kantor() -> None:
    """A record from before there were children is read."""
    codec, found = Codec(MemorySchemas()), deployed(V1)
    schema = system("Definition")
    older = {**schema, "fields": [field for field in schema["fields"] if field["name"] != "children"]}
    value = codec.encoder(older, topics.DEFINITIONS)(
        {
            "saga": "order",
            "version": 1,
            "deployed_at": 1_000,
            "definition": found.model.model_dump_json(),
            "messages": {
                type_: {"schema": json.dumps(message.schema), "topic": message.topic}
                for type_, message in found.messages.items()
            },
        }
    )
    assert bundles.decode(value, codec) == found
