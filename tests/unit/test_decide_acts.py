"""Every operator action in the nearest states of small sagas (``walk``) (saga-31); ``make acts`` goes on to the far ones."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from unit.acts_checks import (
    OF_EVERY_EDGE,
    by_people_alone,
    carried_out_though_not_proposed,
    faults,
    refused_though_proposed,
    tell_place,
    to_an_end,
)
from unit.acts_page import MOST, NOT_TRIED, page
from unit.small_sagas import small_sagas
from unit.walk import Walk

SAGAS = small_sagas()


@cache
def walk(name: str) -> Walk:
    return Walk(name, SAGAS[name], MOST)


@pytest.mark.parametrize("name", SAGAS)
@pytest.mark.parametrize("promise", OF_EVERY_EDGE)
def test_of_every_act(name: str, promise: str) -> None:
    """What each operator action must keep, wherever it was tried."""
    assert faults(walk(name), OF_EVERY_EDGE[promise])[:5] == []


@pytest.mark.parametrize("name", SAGAS)
def test_what_a_trace_proposes_is_carried_out(name: str) -> None:
    """Wherever an incident is open something is proposed, and none of it is refused, unless its cause is as it was."""
    assert refused_though_proposed(walk(name))[:5] == []


@pytest.mark.parametrize("name", SAGAS)
def test_what_is_carried_out_for_an_incident_is_proposed(name: str) -> None:
    """People hear of each ``retry`` and ``skip`` that is carried out for a step with an incident."""
    assert carried_out_though_not_proposed(walk(name))[:5] == []


@pytest.mark.parametrize("name", SAGAS)
def test_from_every_state_there_is_a_way_to_an_end_besides_close(name: str) -> None:
    """At least one that was not tried to its end; how many of those there are, docs/acts.md tells."""
    lost, _ = to_an_end(walk(name))
    assert [tell_place(place) for place in lost][:5] == []


@pytest.mark.parametrize("name", SAGAS)
def test_people_alone_can_deal_with_every_incident(name: str) -> None:
    """By retry and skip, though no service ever answers again."""
    lost, _ = by_people_alone(walk(name))
    assert [tell_place(place) for place in lost][:5] == []


def test_what_was_not_tried_is_not_taken_for_good() -> None:
    """Of a state that was found and not tried nobody knows whether there is a way out: the checks and the page say so."""
    name = "an end that can't be told"
    near, whole = Walk(name, SAGAS[name], 10), walk(name)
    untried = [place for place in near.places.values() if not place.is_tried]
    _, unknown = to_an_end(near)
    assert untried
    assert set(untried) & set(unknown)
    assert to_an_end(whole) == ([], [])
    assert f"| {NOT_TRIED} |" in page([near])
    assert f"| {NOT_TRIED} |" not in page([whole])


def test_the_page_says_what_the_acts_do() -> None:
    """docs/acts.md is what comes of every operator action in every state. If it differs, generate it again: ``unit.acts_page`` says how."""
    text = (Path(__file__).parents[2] / "docs" / "acts.md").read_text(encoding="utf-8")
    assert text == page(map(walk, SAGAS))
