"""What the tests share: the shipped model, the sample gallery and its store, built once a run."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from filelock import FileLock

from extractor import Extractor, ModelCard, local_features
from extractor.descriptor import choice, runtime
from extractor.descriptor.registry import MODELS
from extractor.descriptor.runtime import Runtime
from index_store import Store, build, extraction
from search import Engine
from search.verify import matcher

# Tests are one visitor who clicks faster than anybody.
for kind in ("SEARCHES", "UPLOADS"):
    os.environ.setdefault(f"GEM_{kind}_PER_MINUTE", "100000")

ROOT = Path(__file__).resolve().parent.parent
GALLERY = ROOT / "gallery" / "photos"

PATIENCE = 300  # seconds until a test gives up waiting; only a failure takes them

# A small gallery for tests that build: two pairs, one triple, the rest alone.
FEW_PHOTOS = (
    "taj-mahal.jpg taj-mahal-2.jpg taj-mahal-3.jpg colosseum.jpg colosseum-2.jpg "
    "brandenburg-gate.jpg "
    "brandenburg-gate-2.jpg hammer-1.jpg wine.jpg bulb.jpg igloo.jpg dune.jpg"
).split()


class CountingExtractor:
    """The real extractor, counting the photos it describes; optionally stops like an interrupt."""

    def __init__(self, extractor, stop_after: int | None = None):
        self._extractor, self.described, self.stop_after = extractor, 0, stop_after

    def __getattr__(self, name):
        return getattr(self._extractor, name)

    def describe(self, photos):
        if self.described == self.stop_after:
            raise KeyboardInterrupt
        self.described += len(photos)
        return self._extractor.describe(photos)


class QuickExtractor:
    """Stands for a model where the store is tested: mean colours of a 4 x 4 grid, 48 values."""

    model_sha256 = "0" * 64
    fingerprint = "1" * 64

    def __init__(self, engine: str = "onnxruntime", precision: str = "float32"):
        self.engine = engine
        self.card = ModelCard(
            architecture="quick",
            output_dim=48,
            longest_side=320,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            p=3.0,
            training="none",
            licence="none",
            precision=precision,
        )
        self.described = 0
        self.stop_after: int | None = None

    def describe(self, photos, regions=None):
        """Unit descriptors; stops like an interrupt where it was told to."""
        if self.described == self.stop_after:
            raise KeyboardInterrupt
        self.described += len(photos)
        grids = [cv2.resize(photo, (4, 4), interpolation=cv2.INTER_AREA) for photo in photos]
        rows = np.float32([grid.ravel() for grid in grids]) + 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def children_end_in_silence():
    """torch's DataLoader leaves a handler of SIGCHLD behind. It is taken off after each test.

    Signal handlers run on a small stack of their own, which was measured before OpenVINO switched
    on registers that no longer fit there: the next child that ends would end this process, too.
    """
    before = signal.getsignal(signal.SIGCHLD)
    yield
    signal.signal(signal.SIGCHLD, before)


class Memory:
    """Results by what they were computed from, in a folder that all processes of a run share."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder

    def __call__(self, compute: Callable[[np.ndarray], Any], array: np.ndarray) -> Any:
        key = hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()
        try:
            return pickle.loads((self._folder / key).read_bytes())
        except FileNotFoundError:
            result = compute(array)
            unfinished = self._folder / f"{key}.{threading.get_native_id()}"
            unfinished.write_bytes(pickle.dumps(result))
            unfinished.replace(self._folder / key)
            return result


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory, worker_id) -> Path:
    """A folder that all of pytest-xdist's processes share."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


class Remembering:
    """A runtime that computes each batch once, however often it is asked."""

    def __init__(self, runtime: Runtime, memory: Memory) -> None:
        self._runtime, self._memory, self.metadata = runtime, memory, runtime.metadata

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self._memory(self._runtime.run, batch)


@pytest.fixture(scope="session", autouse=True)
def shipped_models_start_once(run_folder):
    """Commands, pages and tests load them dozens of times, and describe the same few photos.

    They have one thread: two would wait for each other by turning in circles, on cores that other
    tests need. And no other engine is measured against them before a store is built.
    """
    shipped = {hashlib.sha256(one.path.read_bytes()).hexdigest() for one in MODELS.values()}
    started: dict[str, Runtime] = {}

    def start(engine: str, model: bytes, threads: int, calls: int) -> Runtime:
        digest = hashlib.sha256(model).hexdigest()
        if engine != choice.REFERENCE.engine or digest not in shipped:
            return runtime.start_runtime(engine, model, threads, calls)
        if digest not in started:
            memory = Memory(run_folder / f"descriptors-{digest}")
            started[digest] = Remembering(runtime.start_runtime(engine, model, 1, 1), memory)
        return started[digest]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("extractor.descriptor.extractor.start_runtime", start)
        patched.setattr(choice, "is_available", lambda engine: engine == choice.REFERENCE.engine)
        yield


@pytest.fixture
def engines_as_they_are(monkeypatch) -> None:
    """All engines are there, and start and run as often as they are asked to."""
    monkeypatch.setattr("extractor.descriptor.extractor.start_runtime", runtime.start_runtime)
    monkeypatch.setattr(choice, "is_available", runtime.is_available)


@pytest.fixture(scope="session", autouse=True)
def keypoints_are_found_once_for_each_photo(run_folder):
    """Builds and searches of all tests have the same few photos."""
    found = partial(Memory(run_folder / "keypoints"), local_features)
    with pytest.MonkeyPatch.context() as patched:
        for module in (extraction, matcher):
            patched.setattr(module, "local_features", found)
        yield


@pytest.fixture(autouse=True)
def the_main_module_stays():
    """Streamlit puts a visitor's script in its place. Processes that are started later would look
    for that script, which is gone, and end.
    """
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


@pytest.fixture(scope="session")
def extractor() -> Extractor:
    return Extractor()


@pytest.fixture(scope="session")
def gallery_path(tmp_path_factory, extractor, run_folder) -> Path:
    """A store of the whole sample gallery.

    The first of pytest-xdist's processes that wants it builds it, and every one has a copy.
    """
    built = run_folder / "gallery"
    with FileLock(f"{built}.lock"):
        build(GALLERY, built, extractor, index="ivf-pq")  # does nothing to what is complete
    return shutil.copytree(built, tmp_path_factory.getbasetemp() / "stores" / "gallery")


@pytest.fixture(scope="session")
def gallery(gallery_path, extractor) -> Store:
    return Store(gallery_path, extractor)


@pytest.fixture(scope="session")
def engine(gallery, extractor) -> Engine:
    return Engine(gallery, extractor)


@pytest.fixture
def one_worker(monkeypatch) -> None:
    """Photos are indexed one by one, so that an interrupt finds the same number done each time."""
    monkeypatch.setattr("extractor.cores.available_cores", lambda: 1)


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder with copies of FEW_PHOTOS, to be changed at will."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in FEW_PHOTOS:
        shutil.copy(GALLERY / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def small_built(tmp_path_factory, extractor) -> Path:
    """A store of FEW_PHOTOS with its photos beside it; copy it before changing it."""
    base = tmp_path_factory.mktemp("small")
    (base / "photos").mkdir()
    for name in FEW_PHOTOS:
        shutil.copy(GALLERY / name, base / "photos" / name)
    build(base / "photos", base / "store", extractor)
    return base


@pytest.fixture
def small(small_built, tmp_path):
    """Path of a store that a test may damage."""
    return shutil.copytree(small_built / "store", tmp_path / "store")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def unit_rows(rng: np.random.Generator, count: int, dim: int, clusters: int) -> np.ndarray:
    """Clustered unit rows float32 (count, dim): uniform ones have no neighbours worth finding."""
    centres = rng.normal(size=(clusters, dim))
    rows = centres[rng.integers(clusters, size=count)] + 0.7 * rng.normal(size=(count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def in_float32(monkeypatch):
    """A processor without bfloat16: networks that are trained compute in float32."""
    monkeypatch.setattr("torch.cpu.get_capabilities", dict)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with servers and browsers come first: they are the longest, and at the end one process
    would wait for the other's last file.
    """
    items.sort(key=lambda item: item.path.parent.name not in ("serving", "ui"))
