"""What the documents say is true as far as a program can tell: code, links, citation."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from search import RERANKERS
from search.ranking import Ranking
from tests.conftest import ROOT, unit_rows

DOCUMENTS = sorted(path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        file = target.partition("#")[0]
        assert file.startswith("http") or (path.parent / file).exists(), target


def test_the_reranker_of_thirty_lines(rng):
    """It reorders as a slow loop over its own sentence does."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code[0].splitlines()) + len(code[1].splitlines()) <= 30
    module: dict = {"__name__": "search.rerank.neighbourhood", "__package__": "search.rerank"}
    exec(compile(code[0], "neighbourhood.py", "exec"), module)
    (name,) = re.findall(r'^    "(\w+)": Neighbourhood,$', code[1], re.M)
    assert name not in RERANKERS, "it is an example"
    rows = unit_rows(rng, 20, 16, 3).astype(np.float16)
    descriptor = rows[0].astype(np.float32)
    query = SimpleNamespace(descriptor=descriptor, in_gallery=np.array([0]))
    cosines = rows.astype(np.float32) @ descriptor
    ids = np.argsort(-cosines, kind="stable")
    ranking = Ranking(ids, cosines[ids], cosines[ids])
    found = module["Neighbourhood"](SimpleNamespace(descriptors=rows)).rerank(query, ranking)
    others = ids[1:]
    expected = []
    for id in others:
        speaking = [descriptor, *(rows[other].astype(np.float32) for other in others[:3])]
        expected.append(np.mean([float(rows[id].astype(np.float32) @ one) for one in speaking]))
    order = others[np.argsort(-np.array(expected), kind="stable")]
    assert found.ids.tolist() == [0, *order.tolist()]


def test_the_citation_names_this_project_and_its_papers():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0" and cited["license"] == "MIT"
    assert cited["title"] and cited["authors"] and cited["message"]
    for paper in cited["references"]:
        assert paper["title"] and paper["year"] and re.fullmatch(r"10\.\d{4,}/\S+", paper["doi"])
