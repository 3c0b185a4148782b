"""What "How it works" tells: where the descriptor looks, which lists were visited, where the walk
leads.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from streamlit.testing.v1 import AppTest

from extractor import Extractor, read_photo
from extractor.descriptor.attention import Attention, contributions, first_power, grid, named_output
from extractor.descriptor.registry import model_path
from extractor.photo.crop import crop_region
from index_store.ann.id_map import all_numbered
from index_store.ann.inverted_lists import visited_lists
from index_store.ann.nearest import build_index
from index_store.ann.presets import choose_parameters
from search import Contradiction, Hit, Link
from serving.explanation.diffusion_trace import trace_diffusion
from serving.explanation.explain import FIRST, FOLLOWED
from serving.explanation.graph_moves import Move, graph_moves
from serving.galleries.galleries import galleries
from serving.galleries.pictures import thumbnail_url
from tests.conftest import GALLERY, PATIENCE, unit_rows
from tests.ui.test_page import html_of
from tests.ui.test_page import walk as nodes
from ui.pages.how_pictures import MOVES, heat_png


def test_shares_of_places():
    powers = np.array([[8.0, 0, 0], [0, 1, 1]])  # a^3 of two channels at three places
    pooled = np.cbrt([8 / 3, 2 / 3])
    weights = pooled**2 / (pooled**2).sum()
    expected = weights[0] * np.array([1, 0, 0]) + weights[1] * np.array([0, 0.5, 0.5])
    np.testing.assert_allclose(contributions(powers, 3.0), expected)
    assert contributions(powers, 3.0).sum() == pytest.approx(1)
    assert (
        grid(60, 4 / 3) == (10, 6) and grid(60, 3 / 4) == (6, 10) and grid(7, 1) in ((7, 1), (1, 7))
    )


@pytest.mark.parametrize("name", ["gem-resnet101", "efficientnet-lite2"])
def test_the_powers_are_those_of_the_graph(name):
    """Against the same output named with the onnx package; the descriptor stays what it was."""
    extractor = Extractor(model_path(name))
    data = extractor.path.read_bytes()
    graph = onnx.load_model_from_string(data)
    power = next(node.output[0] for node in graph.graph.node if node.op_type == "Pow")
    assert first_power(data) == power
    graph.graph.output.append(helper.make_empty_tensor_value_info(power))
    appended = onnx.load_model_from_string(data + named_output(power))
    assert appended.graph == graph.graph
    photo = read_photo(GALLERY / "tour-eiffel.jpg")
    session = onnxruntime.InferenceSession(data + named_output(power))
    from extractor import resize

    batch = extractor.normalise(resize(photo, extractor.card.longest_side))[None]
    descriptor, powers = session.run(["descriptor", power], {"image": batch})
    np.testing.assert_allclose(descriptor, extractor.describe_batch(batch), atol=1e-5)
    heat = Attention(extractor).heat(photo)
    expected = contributions(powers[0].reshape(powers.shape[1], -1).astype(float), extractor.card.p)
    np.testing.assert_allclose(heat.ravel(), expected, rtol=1e-3)
    assert heat.shape == (10, 6) and heat.sum() == pytest.approx(1)
    assert heat[:, 2:4].sum() > 0.5, "the tower stands in the middle third"


def test_a_model_without_gem_pooling_says_so(extractor, monkeypatch):
    assert first_power(b"") == ""
    monkeypatch.setattr("extractor.descriptor.attention.POWER", b"None of them")
    with pytest.raises(ValueError, match="no GeM"):
        Attention(extractor)


def test_the_visited_lists_are_those_of_the_search(rng):
    rows = unit_rows(rng, 400, 32, 8)
    index = build_index(rows, choose_parameters(400, 32))
    index.effort = 3
    numbered = all_numbered(index)
    lists = visited_lists(numbered, rows[0])
    assert len(lists) == 3 and [e.distance for e in lists] == sorted(e.distance for e in lists)
    _, found = index.search(rows[:1], 400)
    assert {int(id) for e in lists for id in e.ids} == set(found[0][found[0] >= 0].tolist())
    flat = all_numbered(build_index(rows, choose_parameters(400, 32, "flat")))
    assert visited_lists(flat, rows[0]) == []


def test_the_walk_is_the_one_that_reranks(engine, gallery):
    query = engine.prepare(gallery.catalogue.find("taj-mahal.jpg").id)
    trace = trace_diffusion(query, gallery, 5)
    assert len(trace.seeds) and (trace.weights > 0).all() and len(trace.reached) == 5
    names = {gallery.catalogue.photo(int(id)).file for id in trace.seeds}
    assert names & {"taj-mahal-2.jpg", "taj-mahal-3.jpg"}
    assert not set(trace.reached) & {*trace.seeds, *query.own_ids}
    assert (np.diff(trace.visits) <= 0).all() and trace.visits.max() <= 1
    # What the steps bring is what arrives: the sum over seeds is the walk itself.
    for place, visits in enumerate(trace.visits):
        brought = sum(amount for _, to, amount in trace.steps if to == place)
        assert brought == pytest.approx(visits)


def pictures(app: AppTest) -> tuple[list, list[str]]:
    """All components of the page, and the HTML of the drawings among them."""
    drawn = [
        node.proto for node in nodes(app.main) if getattr(node, "type", "") == "bidi_component"
    ]
    return drawn, [json.loads(p.json)["body"] for p in drawn if p.component_name == "drawing"]


def page() -> None:
    from ui.pages.how import render

    render()


def page_of(file: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The page after a search with a gallery photo."""
    monkeypatch.setenv("GEM_STORE", str(store))
    galleries().wait_until_open()
    app = AppTest.from_function(page, default_timeout=PATIENCE)
    app.session_state.visited = file
    app.run()
    assert not app.exception
    return app


def test_the_page_tells_of_the_photo_searched_with(gallery_path, gallery, monkeypatch):
    app = page_of("colosseum.jpg", gallery_path, monkeypatch)
    assert "“Colosseum”" in html_of(app) and "512 numbers" in html_of(app)
    drawn, bodies = pictures(app)
    assert len(bodies) >= 3 and "data:image/png;base64," in bodies[0]
    held = len(visited_lists(gallery.index, gallery.descriptors[0].astype(np.float32)))
    assert bodies[1].count("<li>") == held and "<path" in bodies[2]
    assert any(p.component_name == "match" for p in drawn)


def test_moves_by_the_graph():
    """Photo 1 falls, photo 2 falls from too far behind, 3 rises, 4 is new, 5 rises but is weak."""

    def hit(id: int, before: int | None, after: int, probability: float, **reason) -> Hit:
        ranks = {"graph": after} | ({} if before is None else {"sift": before})
        return Hit(id, "", "", 0.0, 0.0, probability, ranks, **reason)

    against = Contradiction(9, "", "", 20, 0.9)

    def chain(*ids: int) -> tuple[Link, ...]:
        return tuple(Link(id, "", "", None) for id in ids)

    hits = [
        hit(6, 2, 1, 0.9, contradicted_by=against),  # it has risen all the same
        hit(3, 4, 2, 0.5, chain=chain(6, 3)),
        hit(4, None, 3, 0.4, chain=chain(6, 3, 4)),
        hit(1, 1, 4, 0.3, contradicted_by=against),
        hit(5, 9, 5, 0.01, chain=chain(6, 5)),
        hit(2, 6, 7, 0.01, contradicted_by=against),
    ]
    moves = graph_moves(hits, "sift", first=5)
    assert moves.fell == [Move(1, 1, 4, 9)]
    assert moves.rose == [Move(3, 4, 2, 6), Move(4, None, 3, 3)]


def test_the_page_shows_what_the_graph_moved(gallery_path, gallery, engine, monkeypatch):
    app = page_of("petra.jpg", gallery_path, monkeypatch)
    query = engine.prepare(gallery.catalogue.find("petra.jpg").id)
    moves = graph_moves(engine.search(query, "diffusion", "sift", FOLLOWED).hits, "sift", FIRST)
    assert moves.fell
    fell, rose = len(moves.fell), len(moves.rose)
    assert f"another thing: {fell} of the first {FIRST} here" in html_of(app)
    assert f"lead to it: {rose} here" in html_of(app)
    *_, drawn = pictures(app)[1]
    assert drawn.count("<li>") == min(fell, MOVES) + min(rose, MOVES)
    first = moves.fell[0]
    assert f"▼ {first.before} → {first.after}: matches" in drawn
    shown = [thumbnail_url(gallery, id) for id in (first.id, first.because)]
    assert re.findall('src="([^"]+)"', drawn)[:2] == shown


def test_the_steps_that_a_gallery_has_are_numbered(small_built, monkeypatch):
    """A flat index has no lists to visit."""
    monkeypatch.setenv("GEM_STORE", str(small_built / "store"))
    galleries().wait_until_open()
    app = AppTest.from_function(page, default_timeout=PATIENCE).run()
    numbered = re.findall(
        '<h2 class="step"><span aria-hidden="true">(.)</span>([^<]+)', html_of(app)
    )
    steps = ["It looks", "It walks", "It proves", "It cross-checks"]
    assert numbered == [(str(number), name) for number, name in enumerate(steps, 1)]


def test_of_a_part_only_the_part_is_told(gallery_path, monkeypatch):
    monkeypatch.setenv("GEM_STORE", str(gallery_path))
    galleries().wait_until_open()
    engine, region = galleries().first().engine, (0.5, 0.1, 0.9, 1.0)
    id = engine.store.catalogue.find("colosseum.jpg").id
    app = AppTest.from_function(page, default_timeout=PATIENCE)
    app.session_state.visited = "colosseum.jpg"
    app.session_state.question = {"photo": ["colosseum.jpg"], "part": ["50,10,90,100"]}
    app.run()
    assert not app.exception and "Only the part in the frame counts" in html_of(app)
    drawn, (heat, lists, *_) = pictures(app)
    cut = crop_region(engine.store.pixels(id), region, engine.extractor.card.longest_side)
    expected = heat_png(Attention(engine.extractor).heat(cut))
    assert base64.b64encode(expected).decode() in heat
    assert heat.count("left:50.0%;top:10.0%;width:40.0%;height:90.0%") == 2, "heat and frame"
    query = engine.prepare(id, region)
    held = len(visited_lists(engine.store.index, query.descriptor))
    assert lists.count("<li>") == held
    match = json.loads(next(p.json for p in drawn if p.component_name == "match"))
    assert match["frame"] == list(region)
    app.session_state.question = {"photo": ["colosseum.jpg", "igloo.jpg"], "part": ["50,10,90,100"]}
    app.run()
    assert 'class="part"' not in pictures(app)[1][0], "a part is of one photo"
