"""What a gallery says of itself, written by somebody who may mean well or not."""

from __future__ import annotations

import os

import pytest

from serving.about import About, read_about
from tests.conftest import GALLERY


@pytest.fixture
def folder(tmp_path):
    """Writes gallery.toml and a table, and reads them."""

    def write(toml: str | bytes, table: str | bytes | None = None) -> About:
        data = toml if isinstance(toml, bytes) else toml.encode()
        (tmp_path / "gallery.toml").write_bytes(data)
        if table is not None:
            data = table if isinstance(table, bytes) else table.encode()
            (tmp_path / "photos.csv").write_bytes(data)
        return read_about(tmp_path)

    return write


def test_a_gallery_at_home(folder):
    said = folder(
        'title = "Our town"\nlicence = "CC BY 4.0"\nlicence_link = "https://example.org/by"\n'
        'credit = "Archive"\nsamples = ["old/gate.jpg"]\nphotos = "photos.csv"\n'
        '[[links]]\nlabel = "Archive"\nurl = "https://example.org/"\n',
        "\ufefffile,title,credit,licence,link\r\n"
        'old/gate.jpg,"Gate, by night",Ann,CC0,https://example.org/gate\r\nb.jpg,,,,\r\n',
    )
    assert said.file.title == "Our town" and said.file.samples == ("old/gate.jpg",)
    assert said.title("old/gate.jpg", "x") == "Gate, by night" and said.title("b.jpg", "B") == "B"
    gate, other = said.of("old/gate.jpg"), said.of("b.jpg")
    assert (gate.credit, gate.licence, gate.link) == ("Ann", "CC0", "https://example.org/gate")
    assert (other.credit, other.licence) == ("Archive", "CC BY 4.0")
    assert other.link == "https://example.org/by"


@pytest.mark.parametrize(
    "toml",
    [
        "title = ",
        b"title = '\xff'",
        "title = 3",
        "titel = 'x'",
        "title = '" + "x" * 61 + "'",
        'title = "a\\u202eb"',
        'title = "a\\nb"',
        "samples = ['../secret.jpg']",
        "samples = ['/etc/passwd']",
        "samples = ['a\\\\..\\\\b.jpg']",
        "licence_link = 'javascript:alert(1)'",
        "[[links]]\nlabel = 'x'\nurl = 'data:text/html,x'",
        "photos = '../photos.csv'",
        "x = " + "[" * 5000 + "]" * 5000,
        "sentence = '" + "x" * 70_000 + "'",
    ],
)
def test_a_file_that_is_wrong_is_passed_over_as_a_whole_and_the_log_says_why(folder, toml, caplog):
    assert folder(toml) == About()
    assert "gallery.toml is passed over" in caplog.text


@pytest.mark.parametrize("table", ["a,b\n1,2\n", b"file,title\n\xff,x\n", 'file\n"open'])
def test_a_table_that_is_wrong_is_passed_over_and_the_file_holds(folder, table, caplog):
    said = folder('title = "T"\nphotos = "photos.csv"', table)
    assert said.file.title == "T" and not said.photos and "photos.csv" in caplog.text


def test_a_cell_that_cannot_be_shown_counts_as_empty(folder):
    said = folder(
        'photos = "photos.csv"',
        f"file,title,link\na.jpg,a\u202eb,javascript:x\nb.jpg,{'x' * 300},\nc.jpg\n",
    )
    assert said.title("a.jpg", "A") == "A" and said.of("a.jpg").link == ""
    assert len(said.title("b.jpg", "B")) == 200 and said.title("c.jpg", "C") == "C"


def test_neither_a_link_out_of_the_folder_nor_a_pipe_is_read(folder, tmp_path):
    (tmp_path.parent / "outside.csv").write_text("file,title\na.jpg,secret\n")
    (tmp_path / "photos.csv").symlink_to(tmp_path.parent / "outside.csv")
    assert not folder('photos = "photos.csv"').photos
    (tmp_path / "gallery.toml").unlink()
    os.mkfifo(tmp_path / "gallery.toml")
    assert read_about(tmp_path) == About()


def test_the_sample_gallery_credits_each_of_its_photos():
    said = read_about(GALLERY)
    photos = {path.name for path in GALLERY.glob("*.jpg")}
    assert said.photos.keys() == photos and set(said.file.samples) <= photos
    assert all(credit.credit and credit.licence for credit in said.photos.values())
