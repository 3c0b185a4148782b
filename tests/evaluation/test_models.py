"""The models that come with the project: their cards, their stores, and how they are compared."""

from __future__ import annotations

import json
import os
import shutil

import onnx
import pytest
from onnx import helper
from streamlit.testing.v1 import AppTest

from evaluation.__main__ import main as evaluation
from export.__main__ import main as export
from extractor import DEFAULT_MODEL, Extractor, seal
from extractor.descriptor.registry import DEFAULT, MODELS, model_path, name_of
from index_store import StoreMissing, build, model_of
from index_store.__main__ import main as index_store
from search.__main__ import main as search
from serving.galleries.galleries import Galleries, galleries
from serving.galleries.gallery import NoGallery
from serving.galleries.own import OwnGalleries
from tests.conftest import FEW_PHOTOS, GALLERY, PATIENCE, ROOT
from tests.serving.test_own import photo, wait
from tests.ui.test_page import panes

LITE = "efficientnet-lite2"
GROUPS = {"taj": FEW_PHOTOS[:3], "colosseum": FEW_PHOTOS[3:5], "gate": FEW_PHOTOS[5:7]}


@pytest.fixture(scope="module")
def lite() -> Extractor:
    return Extractor(model_path(LITE))


@pytest.fixture(scope="module")
def lite_store(tmp_path_factory, small_built, lite):
    """The photos of `small_built`, described by the other model."""
    path = tmp_path_factory.mktemp("lite") / "store"
    build(small_built / "photos", path, lite)
    return path


@pytest.mark.parametrize("name", MODELS)
def test_the_registry_says_what_the_files_say(name):
    entry = MODELS[name]
    extractor = Extractor(model_path(name))
    card = extractor.card
    assert (card.output_dim, card.longest_side) == (entry.dim, entry.longest_side)
    assert card.licence == entry.licence == "Apache-2.0"
    assert extractor.fingerprint == entry.fingerprint and name_of(entry.fingerprint) == name


def test_models_are_listed_with_their_cards(capsys):
    assert export(["--models"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["name", "dimensions", "side", "ms"]
    assert [row.split()[0] for row in rows] == list(MODELS) and DEFAULT == next(iter(MODELS))
    assert all("Apache-2.0" in row for row in rows)


def test_a_store_finds_its_own_model(small_built, lite_store, tmp_path):
    assert model_of(small_built / "store") == DEFAULT_MODEL
    assert model_of(lite_store) == model_path(LITE)
    assert model_of(lite_store, "else.onnx") == model_path(LITE), "what is known needs no telling"
    with pytest.raises(StoreMissing):
        model_of(tmp_path)


def test_the_command_line_takes_models_by_name(photos, tmp_path, capsys):
    store = str(tmp_path / "store")
    assert index_store(["build", str(photos), "--store", store, "--model", LITE]) == 0
    assert search([str(GALLERY / "taj-mahal.jpg"), "--store", store, "-k", "3", "--json"]) == 0
    printed = capsys.readouterr().out
    found = json.loads(printed[printed.index("{") :])["hits"]
    assert {hit["file"] for hit in found} == {f"taj-mahal{n}.jpg" for n in ("", "-2", "-3")}


def test_models_are_compared_in_one_table(photos, tmp_path, monkeypatch, capsys):
    # The sample gallery would be indexed by both models, which takes long: a smaller one stands for
    # it.
    shutil.copytree(photos, tmp_path / "gallery")
    (tmp_path / "gallery.json").write_text(json.dumps(GROUPS))
    monkeypatch.setattr("evaluation.models.GALLERY_PHOTOS", tmp_path / "gallery")
    monkeypatch.setattr("evaluation.models.GALLERY_GROUPS", tmp_path / "gallery.json")
    (tmp_path / "groups.json").write_text(json.dumps(GROUPS))
    command = ["models", DEFAULT, LITE, "--photos", str(photos), "--stores", str(tmp_path / "s")]
    assert evaluation([*command, "--groups", str(tmp_path / "groups.json")]) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if "|" in line]
    assert [row[1].strip() for row in rows[2:]] == [DEFAULT, LITE, DEFAULT, LITE]
    assert [row[2].strip() for row in rows[2:]] == [*2 * ["photos"], *2 * ["sample gallery"]]
    assert all("[" in cell for row in rows[2:] for cell in row[7:11])


def test_the_page_chooses_and_compares_descriptors(small_built, lite_store, monkeypatch):
    monkeypatch.setenv("GEM_STORE", os.pathsep.join([str(small_built / "store"), str(lite_store)]))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    app.query_params["photo"] = "colosseum.jpg"
    app.run()
    (first,) = panes(app)
    assert app.selectbox(key="descriptor").options == ["GeM-ResNet101", "EfficientNet-Lite2"]
    app.selectbox(key="descriptor").set_value("EfficientNet-Lite2").run()
    (second,) = panes(app)
    assert first["hits"][0]["file"] == second["hits"][0]["file"] == "colosseum-2.jpg"
    assert first["hits"][0]["detail"] != second["hits"][0]["detail"]
    assert first["hits"][0]["thumbnail"] != second["hits"][0]["thumbnail"]

    app.toggle(key="compare").set_value(True).run()
    left, right = panes(app)
    assert (left["heading"], right["heading"]) == ("Rerank off", "Diffusion + SIFT")
    app.selectbox(key="left-descriptor").set_value("GeM-ResNet101")
    app.selectbox(key="left-reranker").set_value("diffusion")
    app.selectbox(key="left-matcher").set_value("sift").run()
    left, right = panes(app)
    assert left["heading"] == "GeM-ResNet101: Diffusion + SIFT"
    assert right["heading"] == "EfficientNet-Lite2: Diffusion + SIFT"
    assert left["hits"][0]["detail"] == first["hits"][0]["detail"]


def test_own_photos_are_described_by_the_descriptor_that_is_chosen(
    small_built, lite_store, monkeypatch
):
    monkeypatch.setenv("GEM_STORE", os.pathsep.join([str(small_built / "store"), str(lite_store)]))
    served = galleries().by_name()
    owns, names = OwnGalleries(), list(served)
    own = wait(owns.add("ann", "", [photo("colosseum.jpg")], 1, names[1]))
    assert own.gallery.name == names[1]
    wait(owns.add("ann", "", [photo("colosseum-2.jpg")], 1, names[0]))
    engine = own.gallery.engine
    assert engine.extractor is served[names[1]].engine.extractor, "one that is there keeps its own"
    result = engine.search(engine.prepare(0), "diffusion", "sift", 2)
    assert result.hits[0].file == "0001.jpg" and result.hits[0].probability is not None
    owns.forget("ann")
    other = wait(owns.add("ann", "", [photo("colosseum.jpg")], 1, "a model that is not served"))
    assert other.gallery.name == names[0]
    owns.forget("ann")

    def page() -> None:
        from ui.pages.own import render

        render()

    app = AppTest.from_function(page, default_timeout=PATIENCE)
    app.session_state.searched_by = names[1]
    (said,) = app.run().caption
    assert not app.exception and said.value.startswith("EfficientNet\\-Lite2 will describe them")


def test_one_store_leaves_no_choice(small_built, monkeypatch):
    monkeypatch.setenv("GEM_STORE", str(small_built / "store"))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    app.query_params["photo"] = "colosseum.jpg"
    app.run()
    panes(app)
    assert {box.label for box in app.selectbox} == {"Reranker", "Matcher", "Index"}


def test_a_store_that_cannot_be_opened_is_left_out_but_for_the_first(
    small_built, lite_store, tmp_path, monkeypatch
):
    served, missing = Galleries(), str(tmp_path / "none")
    monkeypatch.setenv("GEM_STORE", os.pathsep.join([str(lite_store), missing]))
    assert list(served.by_name()) == ["EfficientNet-Lite2"]
    monkeypatch.setenv("GEM_STORE", os.pathsep.join([missing, str(lite_store)]))
    with pytest.raises(NoGallery):
        served.by_name()


def test_a_model_that_is_not_known_is_named_by_its_file(photos, tmp_path, monkeypatch):
    """A model file of somebody's own: GEM_MODEL says where it is."""
    path = tmp_path / "my-model.onnx"
    shutil.copy(model_path(LITE), path)
    model = onnx.load(str(path))
    props = {p.key: p.value for p in model.metadata_props if not p.key.startswith("seal")}
    helper.set_model_props(model, props | {"gem.longest_side": "96"})
    path.write_bytes(seal(model.SerializeToString()))
    build(photos, tmp_path / "store", Extractor(path))
    monkeypatch.setenv("GEM_STORE", str(tmp_path / "store"))
    with pytest.raises(NoGallery):
        Galleries().by_name()
    monkeypatch.setenv("GEM_MODEL", str(path))
    assert list(Galleries().by_name()) == ["my-model"]
