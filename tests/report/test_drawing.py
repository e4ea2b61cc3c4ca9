"""Folding, cutting, laying out and drawing networks."""

import itertools
import re
import xml.etree.ElementTree as ET
from types import ModuleType
from typing import Any

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archscout.report.drawing import draw
from archscout.report.folding import Box, fold, repeats, stretches
from archscout.report.layout import lanes, layers

CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
SVG = "{http://www.w3.org/2000/svg}"


def boxes(*titles: str, picked: dict[int, str] | None = None) -> list[Box]:
    options = picked or {}
    return [
        Box(t, [t], [options[i]] if i in options else [], macs=100 if "conv" in t else 0) for i, t in enumerate(titles)
    ]


def chain(count: int) -> list[tuple[int, int]]:
    return [(i, i + 1) for i in range(count - 1)]


@st.composite
def dags(draw_from: Any) -> tuple[int, list[tuple[int, int]]]:
    """A graph in topological order in which every node but the first is fed."""
    count = draw_from(st.integers(2, 14))
    edges = {(draw_from(st.integers(0, node - 1)), node) for node in range(1, count)}
    pairs = [(a, b) for a, b in itertools.combinations(range(count), 2)]
    return count, sorted(edges | set(draw_from(st.lists(st.sampled_from(pairs), max_size=10))))


# -- folding ----------------------------------------------------------------------------------------------------------


def test_a_run_of_convolution_normalisation_activation_is_one_box() -> None:
    nodes = boxes("input", "conv 3x3", "batch_norm", "relu", "conv 1x1", "batch_norm", "output")
    folded, edges = fold(nodes, chain(7))
    assert [box.steps for box in folded] == [
        ["input"], ["conv 3x3", "batch_norm", "relu"], ["conv 1x1", "batch_norm"], ["output"],
    ]  # fmt: skip
    assert edges == chain(4)


def test_an_activation_in_front_belongs_to_the_option_it_is_part_of() -> None:
    nodes = boxes("input", "conv 3x3", "batch_norm", "relu", "conv 3x3", picked={3: "edge=conv", 4: "edge=conv"})
    folded, _ = fold(nodes, chain(5))
    assert [box.steps for box in folded][1:] == [["conv 3x3", "batch_norm"], ["relu", "conv 3x3"]]
    assert folded[2].picked == ["edge=conv"]


def test_squeeze_and_excitation_is_one_box() -> None:
    nodes = boxes("input", "conv 3x3", "mean", "conv 1x1", "relu", "conv 1x1", "sigmoid", "mul", "conv 1x1")
    folded, edges = fold(nodes, [*chain(9), (1, 7)])
    assert [box.title for box in folded] == ["input", "conv 3x3", "squeeze-excite", "conv 1x1"]
    assert edges == chain(4)
    assert folded[2].macs == 200


@given(dags(), st.data())
def test_folding_loses_no_operator_and_no_connection(graph: tuple[int, list[tuple[int, int]]], data: Any) -> None:
    count, edges = graph
    titles = data.draw(
        st.lists(st.sampled_from(["conv 3x3", "relu", "mul", "add", "mean"]), min_size=count, max_size=count)
    )
    # Multiply-adds as powers of two, so that the sum of a box says which operators are in it.
    nodes = [Box(title, [title], [], macs=1 << i) for i, title in enumerate(titles)]
    folded, joined = fold(nodes, edges)
    members = [[i for i in range(count) if box.macs >> i & 1] for box in folded]
    assert sorted(itertools.chain(*members)) == list(range(count))
    assert [box.steps for box in folded] == [[titles[i] for i in own] for own in members]
    home = {i: place for place, own in enumerate(members) for i in own}
    assert set(joined) == {(home[a], home[b]) for a, b in edges if home[a] != home[b]}
    assert all(a < b for a, b in joined)


# -- cutting ----------------------------------------------------------------------------------------------------------


@given(dags())
def test_stretches_end_at_the_boxes_that_no_edge_jumps_over(graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, edges = graph
    parts = stretches(boxes(*("conv 3x3" for _ in range(count))), edges)
    ends = list(itertools.accumulate(len(part.boxes) for part in parts))
    cuts = [p for p in range(count) if not any(a < p < b for a, b in edges)]
    assert [end - 1 for end in ends] == cuts
    assert sum(len(part.edges) for part in parts) == len(set(edges))


def test_equal_stretches_in_a_row_are_counted() -> None:
    names = ["input", *["conv 3x3", "max_pool2d"] * 4, "linear", "linear"]
    parts = repeats(stretches(boxes(*names), chain(len(names))))
    assert [([s.boxes[0].title for s in part], times) for part, times in parts] == [
        (["input"], 1), (["conv 3x3", "max_pool2d"], 4), (["linear"], 2),
    ]  # fmt: skip


# -- layout -----------------------------------------------------------------------------------------------------------


@given(dags())
def test_layers_are_the_longest_paths(graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, edges = graph
    shifted = [(a - 1, b - 1) for a, b in edges]  # node 0 is the entry
    full = networkx.DiGraph(edges)
    for node, layer in enumerate(layers(count - 1, shifted), start=1):
        ancestors = full.subgraph(networkx.ancestors(full, node) | {node})
        assert layer == networkx.dag_longest_path_length(ancestors)


@given(dags())
def test_boxes_and_passing_edges_of_a_layer_do_not_overlap(graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, edges = graph
    shifted = [(a - 1, b - 1) for a, b in edges]
    layer = layers(count - 1, shifted)
    heights, passes = lanes(layer, shifted)
    for column in range(1, max(layer) + 1):
        places = [(heights[box], 1.0) for box, at in enumerate(layer) if at == column]
        for (source, _), chain_heights in passes.items():
            step = column - ((layer[source] if source >= 0 else 0) + 1)
            if 0 <= step < len(chain_heights):
                places.append((chain_heights[step], 0.5))
        places.sort()
        for (a, room_a), (b, room_b) in itertools.pairwise(places):
            assert b - a >= (room_a + room_b) / 2 - 1e-9


def test_two_parallel_chains_do_not_cross() -> None:
    # 0 and 1 are fed by the entry; 0 -> 3 and 1 -> 2 cross unless the second layer is turned round.
    edges = [(-1, 0), (-1, 1), (0, 3), (1, 2), (2, 4), (3, 4)]
    heights, _ = lanes(layers(5, edges), edges)
    assert (heights[0] - heights[1]) * (heights[3] - heights[2]) > 0
    assert heights[4] == 0


# -- drawing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("space", "text"), [("nasbench201", CELL), ("mobile", "")])
def test_a_traced_network_is_drawn_whole_and_few_boxes_wide(samples: ModuleType, space: str, text: str) -> None:
    graph = samples.graph_of(space, text)
    drawing = draw(graph)
    assert drawing is not None
    assert sum(len(part.drawings) for part in drawing.parts) < len(graph["nodes"]) / 2
    for svg in (svg for part in drawing.parts for svg in part.drawings):
        root = ET.fromstring(f'<svg xmlns="http://www.w3.org/2000/svg"{svg.removeprefix("<svg")}')
        left, top, width, height = (float(n) for n in root.attrib["viewBox"].split())
        assert width < 1000
        for rect in root.iter(f"{SVG}rect"):
            assert left <= float(rect.attrib["x"]) <= left + width - float(rect.attrib["width"])
            assert top <= float(rect.attrib["y"]) <= top + height - float(rect.attrib["height"])
    # Every operator stands in the table, once for each time that its stretch comes.
    signs = sum(svg.count('class="join"') * part.times for part in drawing.parts for svg in part.drawings)
    steps = sum(len(row["steps"].split(", ")) * row["times"] for row in drawing.rows)
    assert steps + signs == len(graph["nodes"])


def test_repeated_cells_are_drawn_once(samples: ModuleType) -> None:
    drawing = draw(samples.graph_of("nasbench201", CELL, (3, 32, 32)))
    assert drawing is not None
    assert [part.times for part in drawing.parts].count(5) == 3


def test_the_bar_of_a_box_is_its_share_of_the_dearest() -> None:
    nodes = [{"label": "conv 3x3", "macs": 50}, {"label": "conv 1x1", "macs": 200}]
    drawing = draw({"nodes": nodes, "edges": [[0, 1]]})
    assert drawing is not None
    widths = [
        float(w)
        for part in drawing.parts
        for svg in part.drawings
        for w in re.findall(r'class="bar".*?width="(.*?)"', svg)
    ]
    assert widths[0] / widths[1] == pytest.approx(0.25)


@pytest.mark.parametrize(
    "graph",
    [
        None, {}, {"nodes": [], "edges": []}, {"nodes": [{"label": "a"}], "edges": [[0, 0]]},
        {"nodes": [{"label": "a"}, {"label": "b"}], "edges": [[1, 0]]}, {"nodes": [{"label": "a"}], "edges": [[0, 7]]},
        {"nodes": ["a"], "edges": []}, {"nodes": [{"label": "a"}] * 5000, "edges": []},
    ],
)  # fmt: skip
def test_a_graph_that_cannot_be_drawn_is_not(graph: Any) -> None:
    assert draw(graph) is None


def test_densely_connected_graphs_are_refused_before_they_take_long() -> None:
    count = 400
    edges = [[a, b] for a, b in itertools.combinations(range(count), 2)]
    assert draw({"nodes": [{"label": "cat"}] * count, "edges": edges}) is None


def test_labels_are_text_and_never_markup() -> None:
    nodes = [{"label": "<script>alert(1)</script>", "group": '"><img src=x>', "macs": 1}]
    drawing = draw({"nodes": nodes, "edges": []})
    assert drawing is not None
    svg = drawing.parts[0].drawings[0]
    assert "<script" not in svg and "<img" not in svg and "&lt;script&gt;" in svg
