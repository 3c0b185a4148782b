"""Store: read access to the live generation. Everything is verified at opening and memory-mapped where it is large."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from extractor import Extractor, LocalFeatures, UnsupportedImage, decode, local_features, read_bytes

from .ann import AnnParameters, load_index
from .catalogue import Catalogue, Photo
from .errors import StoreCorrupt, StoreMismatch
from .extraction import Extracted
from .generation import current
from .manifest import Manifest, verify_artefacts
from .packed import Packed


class Store:
    """An opened generation. Thread-safe, read-only; a later build does not disturb it.

    version: changes with every build. descriptors: float16 (N, D), unit rows. index: faiss IVF-PQ over them.
    neighbour_ids, neighbour_sims: int32 and float32 (N, K), exact nearest photos, the photo itself in slot 0, -1 unused.
    diffusion_ids, diffusion_values: int32 and float16 (N, M), offline diffusion rows (see `diffusion_rows`).

    Raises StoreMissing, StoreCorrupt; StoreMismatch when `extractor` is given and not the one the store was made with.
    """

    def __init__(self, path: str | Path, extractor: Extractor | None = None):
        self.path = Path(path)
        self.folder, self.manifest, version = current(self.path)
        self.version = version[:12]
        check_model(self.manifest, extractor)
        verify_artefacts(self.folder, self.manifest)
        try:
            self._open()
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise StoreCorrupt(
                f"The store at {path} cannot be read ({error}). Build it again."
            ) from error

    def _open(self) -> None:
        count, dim = self.manifest.photos, self.manifest.dim
        self.root = Path(self.manifest.photos_root)
        self.catalogue = Catalogue(self.folder / "catalogue.sqlite")
        self.descriptors = self._array("descriptors", (count, dim))
        self.neighbour_ids = self._array("neighbour_ids", (count, None))
        self.neighbour_sims = self._array("neighbour_sims", self.neighbour_ids.shape)
        self.diffusion_ids = self._array("diffusion_ids", (count, None))
        self.diffusion_values = self._array("diffusion_values", self.diffusion_ids.shape)
        parameters = AnnParameters(**self.manifest.parameters["ann"])
        self.index = load_index(self.folder / "index.faiss", parameters, count, dim)
        self._thumbnails = Packed(self.folder, "thumbnails")
        self._features = Packed(self.folder, "local_features")
        if not len(self._thumbnails) == len(self._features) == len(self.catalogue) == count:
            raise ValueError("its files hold different numbers of photos")

    def _array(self, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
        array = np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        if len(array.shape) != len(shape) or any(
            want not in (None, have) for have, want in zip(array.shape, shape)
        ):
            raise ValueError(f"{name} has shape {array.shape}")
        return array

    def __len__(self) -> int:
        return self.manifest.photos

    def thumbnail(self, id: int) -> bytes:
        """JPEG bytes, longest side at most 480 pixels. Raises IndexError."""
        return self._thumbnails[id]

    def photo_path(self, id: int) -> Path:
        """Where the original was when it was indexed. Raises KeyError."""
        return self.root / self.catalogue.photo(id).file

    def pixels(self, id: int) -> np.ndarray:
        """The decoded original, uint8 RGB (H, W, 3). Raises KeyError, OSError if it is gone, BadPhoto if it has changed."""
        data = read_bytes(self.photo_path(id))
        if hashlib.sha256(data).hexdigest() != self.catalogue.photo(id).sha256:
            raise UnsupportedImage("The photo has changed since it was indexed.")
        return decode(data)

    def local_features(self, id: int) -> LocalFeatures:
        """Stored keypoints, or those of the original where the store's budget ended. Raises as `pixels`."""
        data = self._features[id]
        return LocalFeatures.from_bytes(data) if data else local_features(self.pixels(id))


def check_model(manifest: Manifest, extractor: Extractor | None) -> None:
    """Raise StoreMismatch if descriptors of `extractor` cannot be compared with those of the store."""
    if extractor is not None and extractor.fingerprint != manifest.fingerprint:
        raise StoreMismatch(
            f"The store was made with another model ({manifest.model['architecture']}, {manifest.dim} dimensions, "
            f"fingerprint {manifest.fingerprint[:12]}) than the one at hand ({extractor.card.architecture}, "
            f"{extractor.card.output_dim} dimensions, {extractor.fingerprint[:12]}). Build it again with this model."
        )


class StoredPhotos(Mapping[str, Extracted]):
    """What a store holds of each photo, by the SHA-256 of the photo's bytes: lets a rebuild reuse it."""

    def __init__(self, store: Store):
        self._store = store
        self._ids = {
            photo.sha256: photo for photo in store.catalogue.photos() if store._features[photo.id]
        }

    def __getitem__(self, sha256: str) -> Extracted:
        photo: Photo = self._ids[sha256]
        store = self._store
        return Extracted(
            descriptor=np.array(store.descriptors[photo.id]),
            size=(photo.height, photo.width),
            thumbnail=store.thumbnail(photo.id),
            features=store._features[photo.id],
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)
