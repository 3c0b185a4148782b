"""The one function that all downloads go through, against a server on this machine."""

from __future__ import annotations

import hashlib
import json

import pytest

from download import CHUNK, DownloadFailed, Remote, download, named_mirrors
from tests.support.file_server import serving

URL = "https://example.invalid/files/weights.pth"
CONTENT = bytes(range(256)) * 4000
CUT = 5 * CHUNK
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def mirror(tmp_path):
    with serving(tmp_path / "served") as server:
        server.put(URL, CONTENT)
        yield server


@pytest.fixture
def get(tmp_path, mirror):
    """`download` to a file, from the mirror alone unless others are named."""

    def get(remote, mirrors=None):
        return download(
            remote,
            tmp_path / "kept" / "weights.pth",
            [mirror.address] if mirrors is None else mirrors,
            tmp_path / "pins.json",
            progress=False,
        )

    return get


def test_a_file_is_fetched_once_and_checked(get, mirror, tmp_path):
    remote = Remote(URL, DIGEST)
    assert get(remote).read_bytes() == CONTENT
    assert get(remote, []) == tmp_path / "kept" / "weights.pth"
    assert mirror.requests == [("/example.invalid/files/weights.pth", "")]
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["weights.pth"]
    assert not (tmp_path / "pins.json").exists(), "its publisher has pinned it"


@pytest.mark.parametrize("known", [DIGEST, DIGEST[:7]])
def test_an_interrupted_download_resumes(get, mirror, known):
    remote = Remote(URL, known)
    mirror.cut_after = CUT
    with pytest.raises(DownloadFailed, match="weights.pth could not be downloaded"):
        get(remote)
    mirror.cut_after = None
    assert get(remote).read_bytes() == CONTENT
    assert [part for _, part in mirror.requests] == ["", f"bytes={CUT}-"]


def test_a_download_that_nothing_can_check_starts_over(get, mirror):
    mirror.cut_after = CUT
    with pytest.raises(DownloadFailed):
        get(Remote(URL))
    mirror.cut_after = None
    assert get(Remote(URL)).read_bytes() == CONTENT
    assert [part for _, part in mirror.requests] == ["", ""]


def test_a_server_without_ranges_sends_it_whole(get, mirror):
    mirror.cut_after = CUT
    with pytest.raises(DownloadFailed):
        get(Remote(URL, DIGEST))
    mirror.cut_after, mirror.ranges = None, False
    assert get(Remote(URL, DIGEST)).read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_dropped(get, mirror, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / ".weights.pth.partial").write_bytes(CONTENT + b"more")
    assert get(Remote(URL, DIGEST)).read_bytes() == CONTENT


@pytest.mark.parametrize("known", ["0" * 64, "0123456"])
def test_a_wrong_checksum_names_the_file_and_leaves_nothing(get, tmp_path, known):
    with pytest.raises(DownloadFailed) as error:
        get(Remote(URL, known))
    assert "weights.pth" in str(error.value) and DIGEST[:16] in str(error.value)
    assert known[:16] in str(error.value)
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_damaged_mirror_gives_way_to_the_next(get, mirror, tmp_path):
    with serving(tmp_path / "other") as damaged:
        damaged.put(URL, CONTENT[:-1] + b"!")
        assert get(Remote(URL, DIGEST), [damaged.address, mirror.address]).is_file()
    assert len(damaged.requests) == len(mirror.requests) == 1


def test_what_is_there_and_is_another_file_is_left_alone(get, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "weights.pth").write_bytes(b"mine")
    with pytest.raises(DownloadFailed, match="not the published file.*Move it away"):
        get(Remote(URL, DIGEST))
    assert (tmp_path / "kept" / "weights.pth").read_bytes() == b"mine"


def test_a_file_without_a_checksum_is_pinned_by_its_first_download(get, mirror, tmp_path):
    path = get(Remote(URL))
    assert json.loads((tmp_path / "pins.json").read_text()) == {URL: DIGEST}
    path.unlink()
    mirror.put(URL, b"another")
    with pytest.raises(DownloadFailed, match="sent another file"):
        get(Remote(URL))
    mirror.put(URL, CONTENT)
    assert get(Remote(URL)).read_bytes() == CONTENT


def test_damaged_pins_are_an_error(get, tmp_path):
    (tmp_path / "pins.json").write_text("[1")
    with pytest.raises(DownloadFailed, match="pins.json is damaged"):
        get(Remote(URL))


@pytest.mark.parametrize("known", ["", "0123456"])
def test_what_has_no_full_checksum_comes_over_https_alone(get, known):
    with pytest.raises(DownloadFailed, match="must be an https URL"):
        get(Remote("http://192.0.2.1/weights.pth", known), mirrors=[])


def test_a_redirection_to_http_is_not_followed(get, mirror):
    path = "/example.invalid/files/weights.pth"
    mirror.redirects[path] = "http://192.0.2.1/weights.pth"
    with pytest.raises(DownloadFailed, match="leads to http://192.0.2.1/weights.pth, which is not"):
        get(Remote(URL))


def test_an_answer_without_end_is_cut_off(get, tmp_path):
    with pytest.raises(DownloadFailed, match="sends more than 1000 bytes"):
        get(Remote(URL, DIGEST, size=1000))
    assert not (tmp_path / "kept" / "weights.pth").exists()


def test_a_missing_file_and_a_missing_server_are_said(get, mirror):
    with pytest.raises(DownloadFailed, match="answers 404"):
        get(Remote("https://example.invalid/nothing", DIGEST))
    with pytest.raises(DownloadFailed, match="cannot be reached.*GEM_MIRRORS"):
        get(Remote("https://example.invalid/nothing", DIGEST), mirrors=[])


def test_what_to_install_is_said(get, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DownloadFailed, match="pip install -r requirements-evaluation.txt"):
        get(Remote(URL, DIGEST))


def test_mirrors_are_named_on_the_command_line_or_by_the_environment(monkeypatch):
    monkeypatch.setenv("GEM_MIRRORS", "http://a http://b/c")
    assert named_mirrors() == ["http://a", "http://b/c"]
    assert named_mirrors(["http://d"]) == ["http://d"]
    assert Remote("https://x.org/y/z?k=1").url_at("http://b/c/") == "http://b/c/x.org/y/z?k=1"
