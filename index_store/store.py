"""Store: read access to the live generation, verified when it is opened."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from extractor import Extractor, LocalFeatures, UnsupportedImage, decode, local_features, read_bytes
from extractor.registry import DEFAULT, model_path, name_of

from .ann import AnnParameters, load_index
from .arrays import load_array
from .catalogue import Catalogue
from .errors import StoreCorrupt, StoreMismatch
from .extraction import Extracted
from .generation import opening
from .manifest import Manifest, verify_artefacts
from .packed import Packed


class Store:
    """An opened generation: thread-safe and read-only. A later build does not disturb it.

    Closed by `close`, at the end of a `with` block, or when nobody has it any more.

    Attributes:
        path: The store's folder.
        manifest: What the generation was made from and with.
        generation: Its name, such as "000001".
        version: Another one after each build.
        root: The folder that was indexed.
        as_stored: How its photos were decoded; queries must be, too. See `decode`.
        catalogue: Which photo is which row.
        descriptors: float16 (N, D), unit rows.
        index: faiss IVF-PQ over them.
        neighbour_ids: int32 (N, K), exact nearest photos, the photo itself in slot 0, -1 unused.
        neighbour_sims: float32 (N, K), their similarities.
        diffusion_ids: int32 (N, M), photos of the offline diffusion rows (see `diffusion_rows`).
        diffusion_values: float16 (N, M), their values.
    """

    def __init__(self, path: str | Path, extractor: Extractor | None = None):
        """Open the live generation and verify the checksum of every file in it.

        Args:
            path: The store's folder.
            extractor: What queries will be described with; None if there will be none.

        Raises:
            StoreMissing: There is no store.
            StoreMismatch: The store was made with another model than `extractor`'s, or by another
                version of this program.
            StoreCorrupt: A file is damaged or missing.
        """
        self.path = Path(path)
        with opening(self.path) as generation:
            self.manifest = generation.manifest
            self.generation = generation.folder.name
            self.version = generation.version[:12]
            check_model(self.manifest, extractor)
            verify_artefacts(generation.folder, self.manifest)
            try:
                self._open(generation.folder)
            except (
                OSError,
                ValueError,
                RuntimeError,
                KeyError,
                TypeError,
                sqlite3.Error,
            ) as error:
                raise StoreCorrupt(
                    f"The store at {path} cannot be read ({error}). Build it again."
                ) from error

    def _open(self, folder: Path) -> None:
        count, dim = self.manifest.photos, self.manifest.dim
        self.root = Path(self.manifest.photos_root)
        self.as_stored = bool(self.manifest.parameters.get("decode", {}).get("as_stored"))
        self.descriptors = load_array(folder / "descriptors.npy", np.float16, (count, dim))
        self.neighbour_ids = load_array(folder / "neighbour_ids.npy", np.int32, (count, None))
        near, kept = self.neighbour_ids.shape, (count, None)
        self.neighbour_sims = load_array(folder / "neighbour_sims.npy", np.float32, near)
        self.diffusion_ids = load_array(folder / "diffusion_ids.npy", np.int32, kept)
        kept = self.diffusion_ids.shape
        self.diffusion_values = load_array(folder / "diffusion_values.npy", np.float16, kept)
        parameters = AnnParameters(**self.manifest.parameters["ann"])
        self.index = load_index(folder / "index.faiss", parameters, count, dim)
        self._thumbnails = Packed(folder, "thumbnails")
        self._features = Packed(folder, "local_features")
        self.catalogue = Catalogue(folder / "catalogue.sqlite")
        if not len(self._thumbnails) == len(self._features) == len(self.catalogue) == count:
            raise ValueError("its files hold different numbers of photos")

    def __len__(self) -> int:
        return self.manifest.photos

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the catalogue's file; nothing can be looked up in it afterwards.

        The arrays let go of theirs when nobody uses them any more.
        """
        self.catalogue.close()

    def thumbnail(self, id: int) -> bytes:
        """JPEG bytes, longest side at most 480 pixels. Raises IndexError."""
        return self._thumbnails[id]

    def photo_path(self, id: int) -> Path:
        """Where the original was when it was indexed. Raises KeyError."""
        return self.root / self.catalogue.photo(id).file

    def pixels(self, id: int) -> np.ndarray:
        """The decoded original.

        Returns:
            uint8 RGB (H, W, 3).

        Raises:
            KeyError: There is no such id.
            OSError: The file is gone.
            BadPhoto: It has changed.
        """
        data = read_bytes(self.photo_path(id))
        if hashlib.sha256(data).hexdigest() != self.catalogue.photo(id).sha256:
            raise UnsupportedImage("The photo has changed since it was indexed.")
        return decode(data, self.as_stored)

    def stored_features(self, id: int) -> bytes:
        """`LocalFeatures.to_bytes` of a photo; empty beyond the budget. Raises IndexError."""
        return self._features[id]

    def local_features(self, id: int) -> LocalFeatures:
        """Stored keypoints, or the original's beyond the budget. Raises as `pixels`."""
        data = self.stored_features(id)
        return LocalFeatures.from_bytes(data) if data else local_features(self.pixels(id))


def check_model(manifest: Manifest, extractor: Extractor | None) -> None:
    """Raise StoreMismatch if descriptors of `extractor` cannot be compared with the store's."""
    if extractor is not None and extractor.fingerprint != manifest.fingerprint:
        raise StoreMismatch(
            f"The store was made with another model ({manifest.model['architecture']}, "
            f"{manifest.dim} dimensions, fingerprint {manifest.fingerprint[:12]}) than the one at "
            f"hand ({extractor.card.architecture}, {extractor.card.output_dim} dimensions, "
            f"{extractor.fingerprint[:12]}). Build it again with this model."
        )


class StoredPhotos(Mapping[str, Extracted]):
    """What a store holds of each photo, by the SHA-256 of its bytes: lets a rebuild reuse it."""

    def __init__(self, store: Store):
        self._store = store
        self._photos = {photo.sha256: photo for photo in store.catalogue.photos()}

    def __getitem__(self, sha256: str) -> Extracted:
        photo = self._photos[sha256]
        return Extracted(
            descriptor=np.array(self._store.descriptors[photo.id]),
            size=(photo.height, photo.width),
            thumbnail=self._store.thumbnail(photo.id),
            features=self._store.stored_features(photo.id),
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._photos)

    def __len__(self) -> int:
        return len(self._photos)


def model_of(path: Path, given: str | Path | None = None) -> Path:
    """The model file for a store.

    Args:
        path: The store's folder.
        given: A name of `extractor.registry.MODELS` or a model file, for a store of a model that is
            not among them. None or empty for none; then the project's first model is tried.

    Raises:
        StoreMissing, StoreMismatch, StoreCorrupt: As `Store`.
    """
    with opening(Path(path)) as generation:
        known = name_of(generation.manifest.fingerprint)
    return model_path(str(known or given or DEFAULT))
