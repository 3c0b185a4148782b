"""Batches for distillation: views of photos, and the teacher's outputs for them.

A batch depends only on the seed and its index, so a resumed run gets the same batches. Photos are
read once and cached in memory.
"""

from __future__ import annotations

from typing import NamedTuple

import faiss
import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..common.config import BadConfig
from ..common.pairs import photos_in
from ..common.settings import DistillConfig
from ..device.batch_source import DeviceBatchSource
from ..packs.atomic import commit_file
from ..packs.packed import is_pack
from .batch_source import BatchSource, ViewWorkers

PREFETCH = 3  # batches that each background process prepares in advance


class DistillationBatch(NamedTuple):
    """One batch.

    views: uint8 RGB (B, 3, s, s), input of the student.
    maps: maps of the teacher, float16 (B, C, h, w) each, averaged to the student's grids.
    descriptors: descriptors of the teacher, float32 (B, D), unit norm.
    photos: int64 (B,), index of each view's photo.
    """

    views: torch.Tensor
    maps: list[torch.Tensor]
    descriptors: torch.Tensor
    photos: torch.Tensor


class DistillationDataset(Dataset):
    """The batch of each step: `dataset[step]`.

    Args:
        source: source of views and teacher outputs.
        neighbours: int (N, K), photos similar to each photo; -1 for none. Batches for the instance
            loss then contain photos together with easily confused ones.
    """

    def __init__(self, source: BatchSource, neighbours: np.ndarray | None = None):
        self.source, self.neighbours = source, neighbours

    def __len__(self) -> int:
        return self.source.config.steps

    def __getitem__(self, step: int) -> DistillationBatch:
        config = self.source.config
        rng = np.random.default_rng([config.seed, step])
        chosen = self.choose(rng)
        views, maps, descriptors = self.source.random(chosen, rng)
        return DistillationBatch(
            views,
            [on_grid(m, side) for m, side in zip(maps, grids(config))],
            descriptors,
            torch.from_numpy(chosen).to(views.device),
        )

    def choose(self, rng: np.random.Generator) -> np.ndarray:
        """Indices of a batch's photos, int (B,)."""
        config, photo_count = self.source.config, len(self.source)
        count = config.batch
        if config.instances is None:
            return rng.integers(photo_count, size=count)
        photos = rng.integers(photo_count, size=(count + 1) // 2)
        if self.neighbours is not None:  # every other photo is similar to the previous one
            for i in range(1, len(photos), 2):
                like = self.neighbours[photos[i - 1]]
                like = like[like >= 0]
                if len(like):
                    photos[i] = rng.choice(like)
        return np.repeat(photos, 2)[:count]  # two views of each


class PlainDescriptors(Dataset):
    """The teacher's descriptors of whole photos, `batch` at a time, float32 (b, D)."""

    def __init__(self, source: BatchSource):
        self.source = source

    def __len__(self) -> int:
        return -(-len(self.source) // self.source.config.batch)

    def __getitem__(self, index: int) -> torch.Tensor:
        first = index * self.source.config.batch
        numbers = range(first, min(first + self.source.config.batch, len(self.source)))
        return self.source.plain(numbers)[1].cpu()


def find_neighbours(source: BatchSource) -> np.ndarray | None:
    """Mine the whole pool for easily confused photos.

    The teacher's nearest neighbours are mined once and saved in the run's folder. Nearly identical
    photos (`instances.alike`) may show the same thing, and are skipped.

    Args:
        source: source with N photos.

    Returns:
        Int (N, K), nearest first, -1 where there are fewer; None if no neighbours are configured.

    Raises:
        BadConfig: the file in the folder is damaged or of other photos.
    """
    config = source.config
    if config.instances is None or config.instances.neighbours == 0:
        return None
    file = config.out / "neighbours.npy"
    if file.is_file():
        expected_shape = (len(source), config.instances.neighbours)
        try:
            found = np.load(file, allow_pickle=False)
        except (ValueError, EOFError):  # truncated, or not an array
            found = None
        if found is None or found.shape != expected_shape:
            raise BadConfig(
                f"{file} is damaged or of other photos; delete it to mine neighbours again"
            )
        return found
    batches = tqdm(feed(PlainDescriptors(source)), "mining neighbours", unit="batch")
    descriptors = torch.cat(list(batches)).numpy()
    found = nearest(descriptors, config.instances.neighbours, config.instances.alike)
    partial = file.with_name(".neighbours.npy")
    np.save(partial, found)
    commit_file(partial, file)
    return found


def nearest(descriptors: np.ndarray, count: int, alike: float) -> np.ndarray:
    """The most similar other rows of each row, except nearly identical ones.

    Args:
        descriptors: float32 (N, D), unit norm.
        count: number of rows, K.
        alike: cosine above which a row is skipped.

    Returns:
        Int (N, K), nearest first, -1 where there are fewer.
    """
    depth = min(len(descriptors), 2 * count + 1)  # some are skipped, one is the row itself
    cosines, rows = faiss.knn(descriptors, descriptors, depth, faiss.METRIC_INNER_PRODUCT)
    found = np.full((len(descriptors), count), -1, np.int64)
    for i, (nearest_rows, similar) in enumerate(zip(rows, cosines)):
        others = nearest_rows[(nearest_rows != i) & (similar <= alike)][:count]
        found[i, : len(others)] = others
    return found


def grids(config: DistillConfig) -> list[int]:
    """Sides of the student's maps at the learning stages, in positions."""
    choice = config.teacher
    stages = (choice.layer1, choice.layer2, choice.layer3, choice.layer4)
    return [-(-config.size // stride) for stride, name in zip((4, 8, 16, 32), stages) if name]


def on_grid(map: torch.Tensor, side: int) -> torch.Tensor:
    """A map (B, C, h, w) averaged to (B, C, side, side), float16."""
    return F.adaptive_avg_pool2d(map, side).half()


def open_batch_source(config: DistillConfig, device: torch.device) -> BatchSource:
    """Open the source of a run's batches; on the student's device for a GPU and for packed photos.

    Raises:
        BadParts, BadTeacher: a pack or the teacher cannot be read.
        BadTrainingData: there are no photos, or too many for the memory.
    """
    if device.type == "cuda" or any(map(is_pack, config.photos)):
        return DeviceBatchSource(config, device)
    return ViewWorkers(config, photos_in(config.photos))


def feed(items: DistillationDataset | PlainDescriptors, indices: range | None = None) -> DataLoader:
    """Load items in order, prepared by the background processes of the source, if any.

    Args:
        items: batches, or descriptors.
        indices: indices of the items; None for all.
    """
    workers = items.source.workers
    return DataLoader(
        items,
        batch_size=None,
        sampler=range(len(items)) if indices is None else indices,
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        # A forked process would inherit locks of the parent's thread pools.
        multiprocessing_context="spawn" if workers else None,
    )
