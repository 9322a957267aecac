"""Definitions as pictures."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from kantor_orchestrator import Saga, Steps
from kantor_orchestrator.cli.main import main
from kantor_orchestrator.definitions.diagram import mermaid, picture
from kantor_orchestrator.definitions.diagram_svg import svg
from kantor_orchestrator.definitions.model import SagaModel
from unit.definitions_kit import ORDER, model

TEN = sorted((Path(__file__).parents[2] / "services" / "kantor_examples" / "ten").glob("*.yaml"))
SVG = "{http://www.w3.org/2000/svg}"

Area = tuple[float, float, float, float]


def rectangles(drawn: str) -> dict[str, Area]:
    """Each box's left, top, right and bottom by the step's path."""
    found = {}
    for group in ElementTree.fromstring(drawn).iter(f"{SVG}g"):
        title, rect = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        assert title is not None
        assert rect is not None
        x, y, width, height = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        found[title.text or ""] = (x, y, x + width, y + height)
    return found


def paths(saga: SagaModel) -> set[str]:
    """Every step, by path."""
    written = mermaid(saga)
    return {
        name.replace("__", ".")
        for name in re.findall(r"^ *(?:subgraph )?s_([a-z0-9_]+)[\[({]", written, re.MULTILINE)
    }


def overlap(a: Area, b: Area) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_boxes_and_arrows() -> None:
    """Steps are boxes, with what they do and what reverses them; arrows lead from the start to the end."""
    drawn = picture(model(ORDER))
    assert [box.id for box in drawn.group.boxes] == ["(begin)", "stock", "parcel", "(end)"]
    assert drawn.group.edges == (("(begin)", "stock"), ("stock", "parcel"), ("parcel", "(end)"))
    assert drawn.group.boxes[2].lines == (
        "command: parcel.Book",
        "then parcel.Booked",
        "reversed by parcel.Cancel",
    )


def test_mermaid() -> None:
    """Mermaid's text names each step by its path; `end` and `begin` are good names for steps too."""
    saga = Saga("s", version=1, starts_on="a.Begun", deadline="1h")
    saga.step("begin", steps=Steps().step("end", sleep="3d", when="start.x > 1"))
    assert mermaid(saga.model).splitlines()[:10] == [
        "---",
        'title: "s version 1 · deadline 1h"',
        "---",
        "flowchart TD",
        '  x_begin(["a.Begun"])',
        '  subgraph s_begin["begin"]',
        '    s_begin__end{{"end<br/>when start.x #62; 1<br/>sleep: 3d"}}',
        "    class s_begin__end missing",
        "  end",
        '  x_end(["completed"])',
    ]


@pytest.mark.parametrize("path", TEN, ids=lambda path: path.stem)
def test_every_step_is_drawn(path: Path) -> None:
    """Both forms show every step, and SVG shows where the saga begins and ends."""
    saga = Saga.load(path).model
    assert rectangles(svg(saga)).keys() == paths(saga) | {"(begin)", "(end)"}


@pytest.mark.parametrize("path", TEN, ids=lambda path: path.stem)
def test_boxes_hold_their_own_and_overlap_no_others(path: Path) -> None:
    """A composite's box is around its steps; no other boxes overlap."""
    boxes = rectangles(svg(Saga.load(path).model))
    for name, area in boxes.items():
        for other, where in boxes.items():
            if other.startswith(f"{name}."):
                assert area[0] < where[0]
                assert area[1] < where[1]
                assert where[2] < area[2]
                assert where[3] < area[3]
            elif name != other and not name.startswith(f"{other}."):
                assert not overlap(area, where), (name, other)


def test_foreign_text_is_escaped() -> None:
    """Whatever a definition says, it is text in both forms."""
    title = '</title><script>alert(1)</script>" --> x \x1b[0m ]]>'
    saga = Saga("s", version=1, starts_on="a.Begun").step("a", task={"title": title, "for": "b"}).model
    drawn = svg(saga)
    texts = [text.text or "" for text in ElementTree.fromstring(drawn).iter(f"{SVG}text")]
    assert any("<script>" in text for text in texts)
    assert "<script" not in drawn
    line = next(line for line in mermaid(saga).splitlines() if "task" in line)
    assert set(re.sub(r"#\d+;", "", line)) & set("<>'\\\x1b") == {"<", ">"}  # those of <br/>
    assert line.count('"') == 2


def test_long_text_is_cut() -> None:
    """A long expression does not make a wide picture."""
    saga = (
        Saga("s", version=1, starts_on="a.Begun")
        .step("a", sleep="3d", when=" && ".join(["start.x"] * 50))
        .model
    )
    assert max(len(line) for box in picture(saga).group.boxes for line in box.lines) == 64


def test_arrow_past_a_layer_meets_no_box() -> None:
    """An arrow over several layers goes by the boxes between."""
    saga = Saga("s", version=1, starts_on="a.Begun")
    saga.step("a", sleep="1d").step("b", after="a", sleep="1d").step("c", after=["a", "b"], sleep="1d")
    drawn = svg(saga.model)
    boxes = rectangles(drawn)
    long = max(
        (path.attrib["d"] for path in ElementTree.fromstring(drawn).iter(f"{SVG}path") if path.get("class")),
        key=len,
    )
    points = [tuple(map(float, pair.split(" "))) for pair in re.findall(r"[\d.]+ [\d.]+", long)]
    inside = [x for x, y in points if boxes["b"][1] < y < boxes["b"][3]]
    assert all(not boxes["b"][0] < x < boxes["b"][2] for x in inside)
    assert len(points) > 4


def points(path: str) -> list[tuple[float, float]]:
    """Where an arrow runs: many points of its curves."""
    numbers = [tuple(map(float, pair.split(" "))) for pair in re.findall(r"-?[\d.]+ -?[\d.]+", path)]
    found: list[tuple[float, float]] = []
    for first in range(0, len(numbers) - 1, 3):
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = numbers[first : first + 4]
        for step in range(21):
            t = step / 20
            a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
            found.append((a * x0 + b * x1 + c * x2 + d * x3, a * y0 + b * y1 + c * y2 + d * y3))
    return found


@pytest.mark.parametrize("path", TEN, ids=lambda path: path.stem)
def test_arrows_run_between_boxes(path: Path) -> None:
    """No arrow crosses a box, but for the composites that it begins in."""
    drawn = svg(Saga.load(path).model)

    def inside(point: tuple[float, float], area: Area) -> bool:
        rounded = 0.01  # lengths are written with six digits
        return (
            area[0] + rounded < point[0] < area[2] - rounded
            and area[1] + rounded < point[1] < area[3] - rounded
        )

    for arrow in ElementTree.fromstring(drawn).iter(f"{SVG}path"):
        if arrow.get("class") != "e":
            continue
        way = points(arrow.attrib["d"])
        for name, area in rectangles(drawn).items():
            if not inside(way[0], area):
                assert not any(inside(point, area) for point in way), name


def test_command(tmp_path: Path) -> None:
    """`kantor diagram` writes to stdout or to a file; of several sagas it wants one named."""
    path = tmp_path / "order.yaml"
    path.write_text(ORDER)
    assert CliRunner().invoke(main, ["diagram", str(path)]).stdout.startswith("<svg")
    assert "flowchart TD" in CliRunner().invoke(main, ["diagram", str(path), "--format", "mermaid"]).stdout
    out = tmp_path / "order.svg"
    result = CliRunner().invoke(main, ["diagram", str(path), "--out", str(out)])
    assert (result.stdout, out.read_text()[:4]) == ("", "<svg")
    path.write_text(f"{ORDER}---\n{ORDER.replace('saga: order', 'saga: other')}")
    result = CliRunner().invoke(main, ["diagram", str(path)])
    assert (result.exit_code, "name one of them with --saga" in result.stderr) == (2, True)
    assert CliRunner().invoke(main, ["diagram", str(path), "--saga", "other"]).exit_code == 0
