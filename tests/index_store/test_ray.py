"""A build on a Ray cluster of two nodes gives the store of a build without one."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from extractor import Extractor, encode_jpeg, read_photo, resize
from index_store import Store, build
from index_store.__main__ import main
from index_store.errors import ClusterUnusable
from index_store.extraction import Extraction
from index_store.parameters import extraction_spec_of
from index_store.ray_build import Worker, on_cluster
from index_store.storage.extraction_cache import ExtractionCache
from tests.conftest import GALLERY, ROOT, QuickExtractor
from tests.support.server import until

COUNT = 40  # photos: tasks enough for both nodes, and for one to end midway
MARK = "GEM_TEST_OF_RAY"  # in the environment of every process that the cluster starts
USAGE = "RAY_USAGE_STATS_ENABLED"
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


class Clumsy(QuickExtractor):
    """Fails."""

    def describe(self, photos, regions=None):
        raise RuntimeError("out of\nluck")


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

    os.environ[USAGE] = "0"
    os.environ["RAY_gcs_server_port_wait_time_s"] = "120"
    mark = os.environ[MARK] = uuid.uuid4().hex
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    nodes = Cluster(initialize_head=True, head_node_args=node)
    try:
        nodes.add_node(num_cpus=1, object_store_memory=80 * 2**20)
        yield nodes.address
    finally:
        nodes.shutdown()
        del os.environ[MARK]
    until(lambda: not started_with(mark))


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """A folder of photos, one in it three times, and of three files that cannot be read."""
    folder = tmp_path_factory.mktemp("many") / "photos"
    (folder / "sub").mkdir(parents=True)
    for photo in sorted(GALLERY.glob("*.jpg"))[:COUNT]:
        small = encode_jpeg(resize(read_photo(photo), 320), 90)
        (folder / photo.name).write_bytes(small)
    (folder / "sub" / "again.jpg").write_bytes(small)
    (folder / "again.jpg").write_bytes(small)
    (folder / "broken.jpg").write_bytes(small[:500])
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


def test_a_killed_worker_costs_nothing(cluster, many, alone, tmp_path, monkeypatch, capsys):
    grave, store = tmp_path / "grave", tmp_path / "s"
    monkeypatch.setattr(
        "index_store.commands.extractor_for", lambda *_, **__: (Mortal(grave), "quick")
    )
    assert main(["build", str(many), "--store", str(store), "--ray", cluster]) == 0
    assert "42 photos indexed, 3 left out" in capsys.readouterr().out
    assert int(grave.read_text()) != os.getpid()
    assert_same(alone, store)


DRIVER = """
import os, signal, sys
from index_store import build
from index_store.ray_build import on_cluster
from tests.conftest import QuickExtractor

def watched(items, total, what):
    for done, item in enumerate(items):
        if what == "photos":
            if done == int(stop):
                os.kill(os.getpid(), signal.SIGKILL)
            if item.sha256:
                print("known" if item.photo is None else "new", item.sha256)
        yield item

photos, store, address, stop = sys.argv[1:]
build(photos, store, QuickExtractor(), watched, spread=on_cluster(address))
"""


def drive(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess:
    """Run DRIVER in a process of its own: folder, store, address, photos after which it dies."""
    return subprocess.run(
        [sys.executable, "-c", DRIVER, *arguments],
        cwd=ROOT,
        env={**os.environ, **more},
        capture_output=True,
        text=True,
    )


def test_a_killed_driver_goes_on_from_its_journal(cluster, many, alone, tmp_path):
    """It goes on with a cluster of this machine alone, which ends with the build."""
    store, quick, mark = tmp_path / "s", QuickExtractor(), uuid.uuid4().hex
    ended = drive(many, store, cluster, "30")
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    with closing(
        ExtractionCache(store, extraction_spec_of(quick, False).facts, quick.card.output_dim)
    ) as cache:
        kept = pickle.loads(pickle.dumps(cache))
    assert len(kept) >= 16

    ended = drive(many, store, "local", "-1", **{MARK: mark})
    assert ended.returncode == 0, ended.stderr
    until(lambda: not started_with(mark))
    read = [line.split() for line in ended.stdout.splitlines()]
    assert {sha256 for state, sha256 in read if state == "known"} == kept
    assert not {sha256 for state, sha256 in read if state == "new"} & kept
    assert "Traceback" not in ended.stderr and "Warning" not in ended.stderr
    assert_same(alone, store)


@pytest.mark.parametrize(
    "extractor, sentence",
    [
        (Other(), "would describe photos in another way than this machine"),
        (Clumsy(), r"fails at .*\.jpg: RuntimeError\('out of\\nluck'\)"),
        (Deadly(), "The cluster failed .*run the same command again to resume"),
    ],
)
def test_machines_that_cannot_do_the_work(
    extractor, sentence, cluster, many, tmp_path, monkeypatch
):
    """Nor does a thread stay at work: one that asks Ray for more after its end ends the process."""
    import ray

    monkeypatch.setattr("index_store.ray_build.TRIES", 2)
    before, at_work, shutdown = set(threading.enumerate()), set(), ray.shutdown

    def watched_shutdown():
        at_work.update(thread.name for thread in set(threading.enumerate()) - before)
        shutdown()

    monkeypatch.setattr(ray, "shutdown", watched_shutdown)
    with pytest.raises(ClusterUnusable, match=sentence) as raised:
        build(many, tmp_path / "s", extractor, spread=on_cluster(cluster))
    assert "\n" not in str(raised.value)
    assert at_work <= {"PythonGCThread", "ray_listen_error_messages"}  # Ray itself ends these


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense"])
def test_a_cluster_that_is_not_there_is_a_sentence(address, many, tmp_path):
    with pytest.raises(ClusterUnusable, match=f"There is no Ray cluster at {address}"):
        build(many, tmp_path / "s", QuickExtractor(), spread=on_cluster(address))


def test_nothing_is_reported_of_us(monkeypatch):
    from ray._common.usage.usage_lib import usage_stats_enabled

    monkeypatch.delenv(USAGE, raising=False)
    assert usage_stats_enabled()
    on_cluster("auto")
    assert not usage_stats_enabled()


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
    spec = extraction_spec_of(quick, False)

    def unfit(extractor, file, spec=spec):
        work = pickle.dumps(Extraction(many, extractor, frozenset(), True))
        return Worker(work, spec, file)({"item": file})["failure"]

    assert unfit(quick, "again.jpg") == ""
    assert "has no" in unfit(quick, "nosuch.jpg")
    assert "in another way" in unfit(Other(), "again.jpg")
    model = many.parent / "model.onnx"
    shutil.copy(LITE, model)
    lite = Extractor(model)
    model.unlink()
    assert "There is no descriptor model" in unfit(
        lite, "again.jpg", extraction_spec_of(lite, False)
    )


def test_an_extractor_is_the_same_in_another_process():
    lite = Extractor(LITE)
    copy = pickle.loads(pickle.dumps(lite))
    assert extraction_spec_of(copy, False) == extraction_spec_of(lite, False)
    photo = np.random.default_rng(3).integers(0, 256, (200, 300, 3), np.uint8)
    np.testing.assert_allclose(copy.describe([photo]), lite.describe([photo]), atol=1e-5)
