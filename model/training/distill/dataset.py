"""Batches for distillation: views of photos and the teacher's descriptors of them.

A lesson depends on the seed and its number only, so a run that resumes gets the lessons it would
have got. The photos are read once and kept in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import faiss
import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..common.config import BadConfig
from ..common.pairs import BadTrainingData, photos_under
from ..common.settings import DistillConfig
from ..device.classroom import DeviceClassroom
from ..packs.atomic import settle
from ..packs.packed import is_pack
from .classroom import Room, ViewWorkers

AHEAD = 3  # lessons each background process prepares


class Lesson(NamedTuple):
    """One batch.

    views: uint8 RGB (B, 3, s, s), what the student sees.
    maps: of the teacher, float16 (B, C, h, w) each, averaged onto the student's grids.
    descriptors: of the teacher, float32 (B, D), unit.
    photos: int64 (B,), which photo each view shows.
    """

    views: torch.Tensor
    maps: list[torch.Tensor]
    descriptors: torch.Tensor
    photos: torch.Tensor


class DistillationDataset(Dataset):
    """The lesson of each step: `lessons[step]`.

    Args:
        room: where they come from.
        neighbours: int (N, K), photos that look like each photo; -1 for none. A lesson about
            instances then shows photos beside those they are easily taken for.
    """

    def __init__(self, room: Room, neighbours: np.ndarray | None = None):
        self.room, self.neighbours = room, neighbours

    def __len__(self) -> int:
        return self.room.config.steps

    def __getitem__(self, step: int) -> Lesson:
        config = self.room.config
        rng = np.random.default_rng([config.seed, step])
        chosen = self.choose(rng)
        views, maps, descriptors = self.room.random(chosen, rng)
        return Lesson(
            views,
            [on_grid(m, side) for m, side in zip(maps, grids(config))],
            descriptors,
            torch.from_numpy(chosen).to(views.device),
        )

    def choose(self, rng: np.random.Generator) -> np.ndarray:
        """The photos of a lesson, int (B,)."""
        config, known = self.room.config, len(self.room)
        count = config.batch
        if config.instances is None:
            return rng.integers(known, size=count)
        photos = rng.integers(known, size=(count + 1) // 2)
        if self.neighbours is not None:  # every other photo looks like the one before it
            for i in range(1, len(photos), 2):
                like = self.neighbours[photos[i - 1]]
                like = like[like >= 0]
                if len(like):
                    photos[i] = rng.choice(like)
        return np.repeat(photos, 2)[:count]  # two views of each


class PlainDescriptors(Dataset):
    """The teacher's descriptors of a room's whole photos, `batch` at a time, float32 (b, D)."""

    def __init__(self, room: Room):
        self.room = room

    def __len__(self) -> int:
        return -(-len(self.room) // self.room.config.batch)

    def __getitem__(self, place: int) -> torch.Tensor:
        first = place * self.room.config.batch
        numbers = range(first, min(first + self.room.config.batch, len(self.room)))
        return self.room.plain(numbers)[1].cpu()


def find_neighbours(room: Room) -> np.ndarray | None:
    """Mine the whole pool for photos that are easily taken for one another.

    What the teacher finds nearest is mined once and kept in the run's folder. Photos that are all
    but equal to one another (`instances.alike`) may show one thing, and are passed over.

    Args:
        room: with N photos.

    Returns:
        Int (N, K), nearest first, -1 where there are fewer; None if no neighbours are asked for.

    Raises:
        BadConfig: if the folder's file is damaged or of other photos.
    """
    config = room.config
    if config.instances is None or config.instances.neighbours == 0:
        return None
    file = config.out / "neighbours.npy"
    if file.is_file():
        wanted = (len(room), config.instances.neighbours)
        try:
            found = np.load(file, allow_pickle=False)
        except (ValueError, EOFError):  # cut short, or no array
            found = None
        if found is None or found.shape != wanted:
            raise BadConfig(f"{file} is damaged or of other photos; delete it to mine them again")
        return found
    batches = tqdm(feed(PlainDescriptors(room)), "mining neighbours", unit="batch")
    descriptors = torch.cat(list(batches)).numpy()
    found = nearest(descriptors, config.instances.neighbours, config.instances.alike)
    partial = file.with_name(".neighbours.npy")
    np.save(partial, found)
    settle(partial, file)
    return found


def nearest(descriptors: np.ndarray, count: int, alike: float) -> np.ndarray:
    """The most similar other rows of each row, but none that is all but equal to it.

    Args:
        descriptors: float32 (N, D), unit.
        count: rows wanted, K.
        alike: cosine above which a row is passed over.

    Returns:
        Int (N, K), nearest first, -1 where there are fewer.
    """
    wanted = min(len(descriptors), 2 * count + 1)  # some are passed over, one is the row itself
    cosines, rows = faiss.knn(descriptors, descriptors, wanted, faiss.METRIC_INNER_PRODUCT)
    found = np.full((len(descriptors), count), -1, np.int64)
    for i, (own, similar) in enumerate(zip(rows, cosines)):
        others = own[(own != i) & (similar <= alike)][:count]
        found[i, : len(others)] = others
    return found


def grids(config: DistillConfig) -> list[int]:
    """Sides of the student's maps at the stages that learn, in positions."""
    choice = config.teacher
    stages = (choice.layer1, choice.layer2, choice.layer3, choice.layer4)
    return [-(-config.size // stride) for stride, name in zip((4, 8, 16, 32), stages) if name]


def on_grid(map: torch.Tensor, side: int) -> torch.Tensor:
    """A map (B, C, h, w) averaged onto (B, C, side, side), float16."""
    return F.adaptive_avg_pool2d(map, side).half()


def find_photos(config: DistillConfig) -> list[Path]:
    """The photos of a run. Raises BadTrainingData if there are none."""
    paths = [path for folder in config.photos for path in photos_under(folder)]
    if not paths:
        raise BadTrainingData(f"there are no photos in {', '.join(map(str, config.photos))}")
    return paths


def open_room(config: DistillConfig, device: torch.device) -> Room:
    """Where a run's lessons come from: on a GPU, and of packed photos, on the student's device.

    Raises:
        BadParts, BadTeacher: a pack or the teacher cannot be read.
        BadTrainingData: there are no photos, or too many for the memory.
    """
    if device.type == "cuda" or any(map(is_pack, config.photos)):
        return DeviceClassroom(config, device)
    return ViewWorkers(config, find_photos(config))


def feed(items: DistillationDataset | PlainDescriptors, places: range | None = None) -> DataLoader:
    """What a room gives, in order, prepared by background processes if there are some.

    Args:
        items: lessons, or descriptors.
        places: which of them; all if left out.
    """
    workers = items.room.workers
    return DataLoader(
        items,
        batch_size=None,
        sampler=range(len(items)) if places is None else places,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        # A forked process would inherit locks of the parent's thread pools.
        multiprocessing_context="spawn" if workers else None,
    )
