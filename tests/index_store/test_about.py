"""What a gallery says of itself, written by somebody who may mean well or not."""

from __future__ import annotations

import csv
import io
import os
import shutil
from types import SimpleNamespace

import pytest

from index_store import BadAbout, Store, build, update
from index_store.about import About, read_about
from serving.galleries.about import about
from tests.conftest import GALLERY, QuickExtractor
from ui.widgets.evidence import credit_html, facts_html


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
        b"title = '\x81'",
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
def test_a_file_that_is_wrong_is_an_error(folder, toml):
    with pytest.raises(BadAbout, match="gallery.toml cannot be"):
        folder(toml)


@pytest.mark.parametrize(
    "table, reason",
    [
        ("a,b\n1,2\n", "no column `file`"),
        (b"file,title\n\x81,x\n", "not text"),
        ('file\n"open', "line 2"),
        ("file,credit\na.jpg,Ann, Bob\n", "line 2 has 3 cells"),
        ("file,credit,Credit\na.jpg,Ann,Bob\n", "two columns 'credit'"),
        ("file,credit\n\na.jpg,a\u202eb\n", "line 3: credit holds"),
        ("file,licence\na.jpg," + "x" * 1001, "line 2: licence has more than 1000"),
        ("file,link\na.jpg,javascript:x\n", "line 2: the link is not an address"),
        ("file,a\0b\n", "NUL"),
        (",".join(["file", *map(str, range(50))]), "more than 50 columns"),
    ],
)
def test_a_table_that_is_wrong_is_an_error_that_names_the_line(folder, table, reason):
    with pytest.raises(BadAbout, match="photos.csv cannot be read: .*" + reason):
        folder('title = "T"\nphotos = "photos.csv"', table)


def test_a_line_of_no_delimiter_is_an_error(folder):
    with pytest.raises(BadAbout):
        folder(b'photos = "photos.csv"', b"sep=\nfile\na.jpg\n")


ROWS = [
    ("File", "Title", "Credit", "License", "Shot by"),
    ("old/caf\xe9.jpg", "Caf\xe9, by night", "Ann", "CC0", "Zo\xeb"),
    ("./b.jpg", 'Three "words"', "", "", ""),
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 1, 0, 2)])
@pytest.mark.parametrize("first", ["", "sep={}\r\n"])
def test_a_table_is_read_as_programs_write_it(folder, encoding, delimiter, order, first):
    text = io.StringIO()
    table = csv.writer(text, delimiter=delimiter)
    table.writerows([row[column] for column in order] for row in ROWS)
    data = (first.format(delimiter) + text.getvalue()).encode(encoding)
    toml = 'title = "Z\xfcrich"\nphotos = "photos.csv"'.encode(encoding)
    said = folder(toml, data)
    assert said.file.title == "Z\xfcrich"
    for name in ("old/caf\xe9.jpg", "old/cafe\u0301.jpg", "./old/caf\xe9.jpg"):
        of = said.of(name)
        assert (of.title, of.credit, of.licence) == ("Caf\xe9, by night", "Ann", "CC0")
        assert of.more == {"Shot by": "Zo\xeb"}
    assert said.title("b.jpg", "B") == 'Three "words"' and said.of("b.jpg").more == {}


def test_files_are_named_by_full_paths_and_backslashes_too(folder, tmp_path):
    said = folder(
        'photos = "photos.csv"',
        f"file,title\n{tmp_path}/in/a.jpg,A\nin\\b.jpg,B\n/elsewhere/c.jpg,C\n",
    )
    assert said.title("in/a.jpg", "") == "A" and said.title("in/b.jpg", "") == "B"
    assert said.title("c.jpg", "none") == "none"


def test_long_titles_are_cut_and_lines_are_joined(folder):
    table = f'file,title,credit\na.jpg,{"x" * 300},"Ann\nBo"\nc.jpg\n'
    said = folder('photos = "photos.csv"', table)
    assert len(said.title("a.jpg", "A")) == 200 and said.of("a.jpg").credit == "Ann Bo"
    assert said.title("c.jpg", "C") == "C"


def test_neither_a_link_out_of_the_folder_nor_a_pipe_is_read(folder, tmp_path):
    (tmp_path.parent / "outside.csv").write_text("file,title\na.jpg,secret\n")
    (tmp_path / "photos.csv").symlink_to(tmp_path.parent / "outside.csv")
    with pytest.raises(BadAbout, match="outside the folder"):
        folder('photos = "photos.csv"')
    (tmp_path / "gallery.toml").unlink()
    assert read_about(tmp_path) == About()
    os.mkfifo(tmp_path / "gallery.toml")
    with pytest.raises(BadAbout, match="Not a regular file"):
        read_about(tmp_path)


def test_a_build_refuses_what_it_cannot_read_and_a_store_keeps_what_was_read(photos, tmp_path):
    store, quick = tmp_path / "s", QuickExtractor()
    (photos / "gallery.toml").write_text('credit = "Ann"\nphotos = "photos.csv"')
    (photos / "photos.csv").write_text("file,title\nwine.jpg,A glass\n")
    build(photos, store, quick)
    version = Store(store).version
    (photos / "photos.csv").write_text("file,title\nwine.jpg,A,glass\n")
    changes = [lambda: build(photos, store, quick), lambda: update(store, quick)]
    for change in changes:
        with pytest.raises(BadAbout, match="line 2"):
            change()
    with Store(store) as opened:
        assert opened.version == version and about(opened).title("wine.jpg", "") == "A glass"
        assert about(opened).of("dune.jpg").credit == "Ann"
    for number, change in enumerate(changes):
        (photos / "photos.csv").write_text(f"file,title\nwine.jpg,Glass {number}\n")
        change()
        with Store(store) as opened:
            assert about(opened).title("wine.jpg", "") == f"Glass {number}"
            assert opened.manifest.drift.added == 0
    assert quick.described == 12


def test_the_evidence_shows_all_that_is_said_of_a_photo(photos, tmp_path):
    (photos / "gallery.toml").write_text('photos = "photos.csv"')
    (photos / "photos.csv").write_text(
        "file,credit,link,Year,Canvas\n"
        "wine.jpg,Ann <b>,https://example.org/1,1907,https://example.org/c?a=1&b=2\n"
        "dune.jpg,,https://example.org/2,,\n"
    )
    build(photos, tmp_path / "s", QuickExtractor())
    with Store(tmp_path / "s") as store:
        engine = SimpleNamespace(store=store)
        assert ">Ann &lt;b&gt;</a>" in credit_html(engine, "wine.jpg")
        facts = facts_html(engine, "wine.jpg")
        assert facts.startswith("Year: 1907 \xb7 Canvas: <a href=")
        assert 'href="https://example.org/c?a=1&amp;b=2"' in facts
        # A photo of which nothing else is said still leads to where it is from.
        assert 'href="https://example.org/2"' in credit_html(engine, "dune.jpg")
        assert facts_html(engine, "dune.jpg") == "" == facts_html(engine, "bulb.jpg")


def test_each_of_several_folders_speaks_for_its_photos(photos, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(GALLERY / "petra.jpg", other)
    (photos / "gallery.toml").write_text('title = "Here"\ncredit = "Ann"\nsamples = ["wine.jpg"]')
    (other / "gallery.toml").write_text('title = "There"\ncredit = "Bo"\nphotos = "t.csv"')
    (other / "t.csv").write_text("file,title\npetra.jpg,Rock\n")
    build([photos, other], tmp_path / "s", QuickExtractor())
    with Store(tmp_path / "s") as store:
        said = about(store)
        assert said.file.title == "Here" and said.file.samples == ("photos/wine.jpg",)
        assert said.of("photos/wine.jpg").credit == "Ann"
        assert said.of("other/petra.jpg").credit == "Bo"
        assert said.title("other/petra.jpg", "") == "Rock"


def test_the_sample_gallery_credits_each_of_its_photos():
    said = read_about(GALLERY)
    photos = {path.name for path in GALLERY.glob("*.jpg")}
    assert said.photos.keys() == photos and set(said.file.samples) <= photos
    assert all(credit.credit and credit.licence for credit in said.photos.values())
