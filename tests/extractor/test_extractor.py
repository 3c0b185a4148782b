"""Descriptors: unit length, the same alone and in a batch, and named by a fingerprint."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np

from extractor import Extractor, read_photo
from tests.conftest import GALLERY, ROOT


def test_descriptors_are_unit_and_do_not_depend_on_the_batch(extractor):
    photos = [
        read_photo(GALLERY / name)
        for name in ("taj-mahal.jpg", "wine.jpg", "taj-mahal-2.jpg", "bulb.jpg")
    ]
    photos += [photos[0][:, ::-1]]  # same shape as the first: runs in one batch with it
    together = extractor.describe(photos)
    assert together.shape == (5, extractor.card.output_dim) and together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for photo, descriptor in zip(photos, together):
        np.testing.assert_allclose(extractor.describe([photo])[0], descriptor, atol=1e-5)


def test_normalise_is_mean_and_deviation(extractor):
    photo = np.full((2, 3, 3), (255, 0, 51), np.uint8)
    expected = (np.array([1, 0, 0.2]) - extractor.card.mean) / extractor.card.std
    np.testing.assert_allclose(extractor.normalise(photo)[:, 1, 2], expected, rtol=1e-5)


def test_fingerprint_follows_model_and_preparation(extractor):
    again = Extractor()
    assert again.fingerprint == extractor.fingerprint
    again.card = dataclasses.replace(again.card, longest_side=224)
    assert again.fingerprint != extractor.fingerprint
    again = Extractor()
    again.model_sha256 = "0" * 64
    assert again.fingerprint != extractor.fingerprint


def test_serving_runs_without_torch_and_onnx():
    """Everything a server imports, with the training packages made unimportable."""
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxscript', 'safetensors'): sys.modules[name] = None\n"
        "import app, evaluation.__main__, extractor, index_store.__main__, search.__main__, "
        "ui.pages.search\n"
        "print('served')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "served" in done.stdout, done.stderr
