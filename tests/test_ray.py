"""A build on a Ray cluster of two nodes gives the store of a build without one."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sys
import time
import uuid
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from extractor import Extractor
from index_store import Store, build
from index_store.__main__ import main
from index_store.cluster import Worker, on_cluster
from index_store.errors import ClusterUnusable
from index_store.extraction import Extraction
from index_store.parameters import making_of
from index_store.stock import Stock

from .conftest import GALLERY, ROOT, QuickExtractor

COUNT = 40  # photos: tasks enough for both nodes, and for one to end midway
MARK = "GEM_TEST_OF_RAY"  # in the environment of every process that the cluster starts
LITE = ROOT / "model" / "weights" / "gem-efficientnet-lite2.onnx"


class Mortal(QuickExtractor):
    """Its process is killed as the kernel kills, at its third photo; only the first such process.

    Args:
        grave: A file that is made then.
    """

    def __init__(self, grave: Path):
        super().__init__()
        self.grave = grave

    def describe(self, photos, regions=None):
        if self.described == 3 and not self.grave.exists():
            self.grave.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().describe(photos, regions)


class Deadly(QuickExtractor):
    """Ends each process that uses it, but not the test's own."""

    def __init__(self):
        super().__init__()
        self.home = os.getpid()

    def describe(self, photos, regions=None):
        if os.getpid() != self.home:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().describe(photos, regions)


class Other(QuickExtractor):
    """Is another model where it is unpickled."""

    def __setstate__(self, state):
        self.__dict__.update(state, fingerprint="2" * 64)


def started_with(mark: str) -> set[int]:
    """Processes, this one excepted, that have it in their environment."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            running = b"\nState:\tZ" not in (process / "status").read_bytes()
        except OSError:
            continue
        if running and mark.encode() in environment and process.name != str(os.getpid()):
            found.add(int(process.name))
    return found


@pytest.fixture(scope="module")
def cluster():
    """The address of a cluster of two nodes of a core each. Its processes end with it."""
    from ray.cluster_utils import Cluster

    mark = os.environ[MARK] = uuid.uuid4().hex
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    nodes = Cluster(initialize_head=True, head_node_args=node)
    try:
        nodes.add_node(num_cpus=1, object_store_memory=80 * 2**20)
        yield nodes.address
    finally:
        nodes.shutdown()
        del os.environ[MARK]
    for _ in range(100):  # they are told to end, and take a moment
        if not started_with(mark):
            break
        time.sleep(0.1)
    assert not started_with(mark)


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """A folder of photos, one in it three times, and of three files that cannot be read."""
    folder = tmp_path_factory.mktemp("many") / "photos"
    (folder / "sub").mkdir(parents=True)
    for photo in sorted(GALLERY.glob("*.jpg"))[:COUNT]:
        shutil.copy(photo, folder / photo.name)
    shutil.copy(GALLERY / "wine.jpg", folder / "sub" / "wine.jpg")
    shutil.copy(GALLERY / "wine.jpg", folder / "again.jpg")
    (folder / "broken.jpg").write_bytes((GALLERY / "dune.jpg").read_bytes()[:500])
    (folder / "text.jpg").write_text("no photo")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    return folder


@pytest.fixture(scope="module")
def alone(many, tmp_path_factory) -> Path:
    """The store that is built without Ray."""
    path = tmp_path_factory.mktemp("stores") / "alone"
    build(many, path, QuickExtractor())
    return path


def assert_same(one: Path, other: Path) -> None:
    """Record by record."""
    with Store(one) as a, Store(other) as b:
        assert a.catalogue.entries() == b.catalogue.entries()
        assert a.catalogue.skipped() == b.catalogue.skipped() != []
        assert a.manifest.parameters == b.manifest.parameters
        assert a.manifest.listing == b.manifest.listing
        np.testing.assert_array_equal(np.asarray(a.descriptors), np.asarray(b.descriptors))
        for id in range(len(a)):
            assert a.catalogue.photo(id) == b.catalogue.photo(id)
            assert a.thumbnail(id) == b.thumbnail(id)
            assert a.stored_features(id) == b.stored_features(id) != b""
        assert [facts.name for facts in a.manifest.segments] == [
            facts.name for facts in b.manifest.segments
        ]


def test_a_killed_worker_costs_nothing(cluster, many, alone, tmp_path):
    grave = tmp_path / "grave"
    build(many, tmp_path / "s", Mortal(grave), spread=on_cluster(cluster))
    assert int(grave.read_text()) != os.getpid()
    assert_same(alone, tmp_path / "s")


def test_a_stopped_driver_goes_on_from_its_journal(cluster, many, alone, tmp_path):
    def stop(items, total, what):
        for done, item in enumerate(items):
            if done == 20:
                raise KeyboardInterrupt
            yield item

    seen = []

    def watch(items, total, what):
        for item in items:
            seen.append(item)
            yield item

    store, spread = tmp_path / "s", on_cluster(cluster)
    with pytest.raises(KeyboardInterrupt):
        build(many, store, QuickExtractor(), stop, spread=spread)
    facts = making_of(QuickExtractor(), False).facts
    with closing(Stock(store, facts, QuickExtractor().card.output_dim)) as stock:
        kept = pickle.loads(pickle.dumps(stock))
    assert len(kept) >= 16
    build(many, store, QuickExtractor(), watch, spread=spread)
    photos = [item for item in seen if getattr(item, "sha256", "")]
    assert {item.sha256 for item in photos if item.photo is None} == kept
    assert not {item.sha256 for item in photos if item.photo is not None} & kept
    assert_same(alone, store)


def test_the_command_builds_and_says_what_is_wrong(
    cluster, many, alone, tmp_path, monkeypatch, capsys
):
    def build_with(extractor, *more):
        monkeypatch.setattr(
            "index_store.__main__.choose_extractor", lambda *_, **__: (extractor, "quick")
        )
        code = main(["build", str(many), "--store", str(tmp_path / "s"), *more])
        return code, capsys.readouterr().err

    code, said = build_with(Other(), "--ray", cluster)
    assert code == 1 and "would describe photos in another way than this machine" in said
    code, said = build_with(Deadly(), "--ray", cluster)
    assert code == 1 and "The cluster gave up" in said and "Traceback" not in said
    assert build_with(QuickExtractor(), "--ray", cluster)[0] == 0
    assert_same(alone, tmp_path / "s")


def test_a_cluster_of_this_machine_alone_ends_with_the_build(many, alone, tmp_path, monkeypatch):
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    during = set()

    def watch(items, total, what):
        for item in items:
            during.update(started_with(mark))
            yield item

    build(many, tmp_path / "s", QuickExtractor(), watch, spread=on_cluster("local"))
    assert_same(alone, tmp_path / "s")
    assert during and not started_with(mark)
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:1", "nonsense"])
def test_a_cluster_that_is_not_there_is_a_sentence(address, many, tmp_path):
    with pytest.raises(ClusterUnusable, match=f"There is no Ray cluster at {address}"):
        build(many, tmp_path / "s", QuickExtractor(), spread=on_cluster(address))


def test_an_address_that_cannot_stream_is_refused():
    with pytest.raises(ClusterUnusable, match="--ray auto"):
        on_cluster("ray://head:10001")


def test_without_ray_a_sentence_says_what_to_install(many, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["build", str(many), "--store", str(tmp_path / "s"), "--ray", "auto"]) == 1
    assert capsys.readouterr().err == (
        "error: Ray is not installed; run: pip install -r requirements-ray.txt\n"
    )


def test_a_machine_that_is_not_equipped_says_so(many):
    quick = QuickExtractor()
    making = making_of(quick, False)

    def unfit(extractor, file, making=making):
        work = pickle.dumps(Extraction(many, extractor, frozenset(), True))
        return Worker(work, making, file)({"item": file})["unfit"]

    assert unfit(quick, "again.jpg") == ""
    assert "has no" in unfit(quick, "nosuch.jpg")
    assert "in another way" in unfit(Other(), "again.jpg")
    model = many.parent / "model.onnx"
    shutil.copy(LITE, model)
    lite = Extractor(model)
    model.unlink()
    assert "There is no descriptor model" in unfit(lite, "again.jpg", making_of(lite, False))


def test_an_extractor_is_the_same_in_another_process():
    lite = Extractor(LITE)
    copy = pickle.loads(pickle.dumps(lite))
    assert making_of(copy, False) == making_of(lite, False)
    photo = np.random.default_rng(3).integers(0, 256, (200, 300, 3), np.uint8)
    np.testing.assert_allclose(copy.describe([photo]), lite.describe([photo]), atol=1e-5)
