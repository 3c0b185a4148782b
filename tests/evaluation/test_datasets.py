"""Each reader on a tiny data set in the published layout."""

from __future__ import annotations

import codecs
import json
import os
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from evaluation.datasets import BadDataset, BadGroups, Truth, read_dataset
from evaluation.datasets.buildings import stored_region
from evaluation.datasets.groups import photos_below
from evaluation.datasets.plain_pickle import BadPickle, read_plain_pickle
from extractor import read_photo
from index_store.sources.scan import scan
from model.training.common.pairs import BadTrainingData, read_landmarks_csv, read_sfm


def write_photo(path: Path, seed: int = 0, size: tuple[int, int] = (48, 64)) -> Path:
    """A JPEG of coloured noise, size being (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_CUBIC))
    return path


RECONSTRUCT, SCALAR = np._core.multiarray._reconstruct, np._core.multiarray.scalar


# -- revisited -------------------------------------------------------------------------------------

GND = {
    "imlist": ["a", "b", "c", "d", "e"],
    "qimlist": ["q1", "q2"],
    "gnd": [
        {"bbx": [16.0, 12.0, 48.0, 36.0], "easy": [0, 1], "hard": np.array([2]), "junk": [3]},
        {"bbx": np.array([0.0, 0.0, 64.0, 48.0]), "easy": [], "hard": [4, 4], "junk": []},
    ],
}


@pytest.fixture
def revisited(tmp_path) -> Path:
    for number, name in enumerate([*GND["imlist"], *GND["qimlist"]]):
        write_photo(tmp_path / "jpg" / f"{name}.jpg", number)
    (tmp_path / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(GND, protocol=2))
    return tmp_path


def files(*stems: str) -> frozenset[str]:
    return frozenset(f"{stem}.jpg" for stem in stems)


def test_revisited_reads_setups_boxes_and_gallery(revisited):
    benchmark = read_dataset("roxford5k", revisited)
    assert benchmark.gallery == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]  # and not the queries
    assert benchmark.setups == ("Easy", "Medium", "Hard") and benchmark.main == "Medium"
    first, second = benchmark.queries
    assert first.photo == revisited / "jpg" / "q1.jpg" and first.own is None
    assert first.region == (0.25, 0.25, 0.75, 0.75) and second.region == (0, 0, 1, 1)
    assert first.truths == {
        "Easy": Truth(files("a", "b"), files("c", "d")),
        "Medium": Truth(files("a", "b", "c"), files("d")),
        "Hard": Truth(files("c"), files("a", "b", "d")),
    }
    assert second.truths["Hard"].positives == files("e")
    assert benchmark.notes == [
        "Not the published data set: 5 gallery photos and 2 queries; the published one has 4993 "
        "and 70."
    ]


def test_revisited_judges_by_hand(revisited):
    benchmark = read_dataset("roxford5k", revisited)
    first, second = benchmark.queries
    values = benchmark.judge(first, ["d.jpg", "a.jpg", "e.jpg", "c.jpg", "b.jpg"])
    # Easy: a e b. Medium: a e c b. Hard: e c.
    assert values["Easy"] == pytest.approx(
        {"mAP": (1 + (1 / 2 + 2 / 3) / 2) / 2, "mP@1": 1, "mP@5": 2 / 3, "mP@10": 2 / 3}
    )
    medium = (1 + (1 / 2 + 2 / 3) / 2 + (2 / 3 + 3 / 4) / 2) / 3
    assert values["Medium"] == pytest.approx(
        {"mAP": medium, "mP@1": 1, "mP@5": 3 / 4, "mP@10": 3 / 4}
    )
    assert values["Hard"] == pytest.approx(
        {"mAP": (0 + 1 / 2) / 2, "mP@1": 0, "mP@5": 1 / 2, "mP@10": 1 / 2}
    )
    assert set(benchmark.judge(second, ["e.jpg"])) == {
        "Medium",
        "Hard",
    }  # nothing easy to find: does not count there
    verdicts = [benchmark.verdict(first, file) for file in ("a.jpg", "c.jpg", "d.jpg", "e.jpg")]
    assert verdicts == ["relevant", "relevant", "junk", "irrelevant"]


class Evil:
    def __reduce__(self):
        return eval, ("1 + 1",)


@pytest.mark.parametrize(
    "content, sentence",
    [
        ({**GND, "gnd": Evil()}, "asks for builtins.eval"),
        ({**GND, "imlist": Path("x")}, "asks for pathlib"),
        ({"imlist": []}, "not a ground truth"),
        ([1], "not a ground truth"),
        ({**GND, "gnd": GND["gnd"][:1]}, "do not fit"),
        ({**GND, "gnd": [{**GND["gnd"][0], "easy": [99]}] * 2}, "not a ground truth"),
        ({**GND, "gnd": [{**GND["gnd"][0], "easy": [-1]}] * 2}, "negative index"),
        ({**GND, "gnd": [{**GND["gnd"][0], "bbx": [1, 2, 3]}] * 2}, "do not fit"),
        ({**GND, "gnd": [{**GND["gnd"][0], "bbx": [70, 0, 90, 48]}] * 2}, "is not inside"),
    ],
)
def test_bad_ground_truth_is_refused(revisited, content, sentence):
    (revisited / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(BadDataset, match=sentence):
        read_dataset("roxford5k", revisited)


@pytest.mark.parametrize("data", [b"", b"\x80\x04", b"garbage", pickle.dumps([1, "x"])[:-3]])
def test_damaged_pickles_are_refused(tmp_path, data):
    (tmp_path / "x.pkl").write_bytes(data)
    with pytest.raises(BadPickle):
        read_plain_pickle(tmp_path / "x.pkl")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_are_read(tmp_path, protocol):
    plain = {"a": [1, 2.5, "x", None, True], "b": [[]], "c": 10**30}
    arrays = {
        "whole": np.arange(6, dtype=np.int32).reshape(2, 3),
        "empty": np.array([]),
        "by columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big-endian": np.arange(6, dtype=">f4")[::2],
        "truth": np.array([True, False]),
    }
    content = {**plain, **arrays, "b": ((),), "scalar": np.float64(3), "again": arrays["whole"]}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    lists = {key: array.tolist() for key, array in arrays.items()}
    expected = {**plain, **lists, "scalar": 3.0, "again": lists["whole"]}
    assert read_plain_pickle(tmp_path / "x.pkl") == expected


def test_a_ground_truth_of_python_3_in_protocol_2_with_empty_arrays_is_read(revisited):
    """Empty bytes are written in a way of their own there."""
    entry = {**GND["gnd"][0], "junk": np.array([], np.int64)}
    content = pickle.dumps({**GND, "gnd": [entry, entry]}, protocol=2)
    assert b"__builtin__\nbytes" in content
    (revisited / "gnd_roxford5k.pkl").write_bytes(content)
    truth = read_dataset("roxford5k", revisited).queries[0].truths["Medium"]
    assert truth == Truth(files("a", "b", "c"), frozenset())


class Call:
    """Pickled as a call, with a state for what it makes."""

    def __init__(self, function, *arguments, state=None):
        self.call = function, arguments, state

    def __reduce__(self):
        return self.call


POINTERS = b"A" * 8  # eight bytes that numpy would follow as the address of an object
OBJECTS = (3, "|", None, None, None, -1, -1, 0)  # the state of a type of objects, its flags cleared
CUNNING_TYPE = Call(np.dtype, "O", False, True, state=OBJECTS)
HOSTILE_PICKLES = {
    "array of pointers": Call(np.ndarray, (1,), "O", POINTERS),
    "array of pointers by state": Call(
        RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (1,), CUNNING_TYPE, False, POINTERS)
    ),
    "scalar of a pointer": Call(SCALAR, CUNNING_TYPE, POINTERS),
    "scalar of a plain type with the state of another": Call(
        SCALAR,
        Call(np.dtype, "f8", False, True, state=(3, "|", ("f8",), None, None, -1, -1, 63)),
        b"A",
    ),
    "huge array": Call(RECONSTRUCT, np.ndarray, (10**12,), b"b"),
    "huge array of one byte": Call(
        RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (10**11,), np.dtype("i8"), False, b"A")
    ),
    "shape that is negative": Call(
        RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (-1,), np.dtype("i8"), False, b"A" * 8)
    ),
    "shape with endless digits": Call(
        RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (10**5000,), np.dtype("i8"), False, b"")
    ),
    "array without state for its type": Call(
        RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, (1,), "i8", False, b"A" * 8)
    ),
    "text in the place of an array's state": Call(
        RECONSTRUCT, np.ndarray, (0,), b"b", state="nonsense"
    ),
    "array of texts": np.array(["a", "b"]),
    "another codec": Call(codecs.encode, "x" * 100, "zlib"),
    "method of a stand-in": Call(getattr, np.ndarray, "tobytes"),
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", HOSTILE_PICKLES)
def test_pickles_with_allowed_names_that_would_crash_are_refused(revisited, name, protocol):
    content = {**GND, "gnd": [{**GND["gnd"][0], "easy": HOSTILE_PICKLES[name]}] * 2}
    (revisited / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(BadDataset, match=r"not a ground truth of the revisited protocol \(it "):
        read_dataset("roxford5k", revisited)


@pytest.mark.parametrize(
    "instructions, sentence",
    [
        (b")" + b"\x85" * 3_000_000 + b"K\x01s", "ended the process"),  # endless hashing
        (b"cnumpy\nndarray\nK\x01s", "keys must be"),
        (b"X\x01\0\0\0aq\x01h\x02s", "Memo value not found"),
        (b"K\x01)R", "not callable"),
        (b"]K\x01K\x02s", "list"),
        (b"u", "unexpected MARK|could not find MARK"),
        (b"X\xff\xff\xff\x7fa", "truncated"),
        (b"K\x01r\xff\xff\xff\x7f", "damaged"),  # a memo of 2**31 values
    ],
)
def test_hostile_instructions_are_refused(tmp_path, instructions, sentence):
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02}" + instructions + b".")
    with pytest.raises(BadPickle, match=sentence):
        read_plain_pickle(tmp_path / "x.pkl")


@pytest.mark.parametrize("missing", ["gnd_roxford5k.pkl", "jpg", "jpg/c.jpg", "jpg/q2.jpg"])
def test_revisited_names_what_is_missing(revisited, missing):
    path = revisited / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(BadDataset, match=f"{missing} is missing.*Get it from https?://"):
        read_dataset("roxford5k", revisited)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_fits_the_photo_as_it_is_stored(tmp_path, orientation):
    """A white box on black, found again where the region says, whatever the EXIF tag would turn."""
    pixels = np.zeros((200, 300, 3), np.uint8)
    pixels[20:90, 30:180] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    left, top, right, bottom = stored_region(tmp_path / "x.png", (30, 20, 180, 90))
    photo = read_photo(tmp_path / "x.png", as_stored=True)
    rows, columns = np.nonzero(photo[..., 0] > 127)
    height, width = photo.shape[:2]
    found = (
        columns.min() / width,
        rows.min() / height,
        (columns.max() + 1) / width,
        (rows.max() + 1) / height,
    )
    assert (left, top, right, bottom) == pytest.approx(found)


# -- classic ---------------------------------------------------------------------------------------


@pytest.fixture(params=["oxford5k", "paris6k"])
def classic(tmp_path, request) -> tuple[str, Path]:
    oxford = request.param == "oxford5k"
    photos = tmp_path / ("oxbuild_images" if oxford else "paris/defense")
    for number, stem in enumerate(["all_souls_000013", "b", "c", "d", "e"]):
        write_photo(photos / f"{stem}.jpg", number)
    lists = tmp_path / "gt_files"
    lists.mkdir()
    prefix = "oxc1_" if oxford else ""
    (lists / "all_souls_1_query.txt").write_text(f"{prefix}all_souls_000013 16.0 12.0 48.0 36.0\n")
    (lists / "all_souls_1_good.txt").write_text("b\n")
    (lists / "all_souls_1_ok.txt").write_text("all_souls_000013\nc\n")
    (lists / "all_souls_1_junk.txt").write_text("d\n")
    return request.param, tmp_path


def test_classic_keeps_the_query_in_the_gallery_as_a_positive(classic):
    name, root = classic
    benchmark = read_dataset(name, root)
    folder = "" if name == "oxford5k" else "defense/"

    def inside(*stems):
        return frozenset(f"{folder}{stem}.jpg" for stem in stems)

    assert benchmark.gallery == sorted(inside("all_souls_000013", "b", "c", "d", "e"))
    (query,) = benchmark.queries
    assert query.own is None and query.region == (0.25, 0.25, 0.75, 0.75) and query.photo.is_file()
    truth = query.truths[benchmark.main]
    assert truth == Truth(inside("all_souls_000013", "b", "c"), inside("d"))
    ranking = [f"{folder}{stem}.jpg" for stem in ("all_souls_000013", "d", "e", "b", "c")]
    expected = (1 + (1 / 2 + 2 / 3) / 2 + (2 / 3 + 3 / 4) / 2) / 3
    assert benchmark.judge(query, ranking) == {benchmark.main: {"mAP": pytest.approx(expected)}}


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (lambda lists: (lists / "all_souls_1_ok.txt").unlink(), "all_souls_1_ok.txt is missing"),
        (
            lambda lists: (lists / "all_souls_1_ok.txt").write_text("zz"),
            "names zz, and there is no such photo",
        ),
        (
            lambda lists: (lists / "all_souls_1_query.txt").write_text("b 1 2"),
            "a photo's name and a box",
        ),
        (lambda lists: (lists / "all_souls_1_query.txt").unlink(), "no \\*_query.txt"),
        (lambda lists: shutil.rmtree(lists), "gt_files is missing"),
    ],
)
def test_classic_names_what_is_wrong(classic, spoil, sentence):
    name, root = classic
    spoil(root / "gt_files")
    with pytest.raises(BadDataset, match=sentence):
        read_dataset(name, root)


# -- numbered --------------------------------------------------------------------------------------


def test_holidays(tmp_path):
    for number in (100000, 100001, 100002, 100100, 100101, 149900):
        write_photo(tmp_path / "jpg" / f"{number}.jpg", number)
    benchmark = read_dataset("holidays", tmp_path)
    assert len(benchmark.gallery) == 6
    assert [query.own for query in benchmark.queries] == ["100000.jpg", "100100.jpg", "149900.jpg"]
    first = benchmark.queries[0]
    assert first.truths[benchmark.main].positives == {"100001.jpg", "100002.jpg"}
    # The query's own photo is junk, wherever it comes.
    ranking = ["100000.jpg", "100001.jpg", "100100.jpg", "100002.jpg"]
    expected = {benchmark.main: {"mAP": pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)}}
    assert benchmark.judge(first, ranking) == benchmark.judge(first, ranking[1:]) == expected
    assert benchmark.judge(benchmark.queries[2], ranking) == {}  # alone: cannot be judged
    assert benchmark.queries[1].truths[benchmark.main].positives == {"100101.jpg"}


def test_ukbench(tmp_path):
    for number in range(8):
        write_photo(tmp_path / "full" / f"ukbench{number:05d}.jpg", number)
    benchmark = read_dataset("ukbench", tmp_path)
    names = [f"ukbench{number:05d}.jpg" for number in range(8)]
    assert benchmark.gallery == names and [query.own for query in benchmark.queries] == names
    query = benchmark.queries[5]

    def n_s(*numbers):
        return benchmark.judge(query, [names[i] for i in numbers])[benchmark.main]["N-S"]

    assert n_s(4, 6, 7, 0) == 4 and n_s(4, 0, 7, 6) == 3 and n_s(0, 1, 2, 3) == 1
    assert (
        n_s(5, 4, 6, 7) == 4
    )  # the engine does not return it; if it did, it would not count twice
    assert query.truths[benchmark.main].positives == {names[4], names[6], names[7]}
    (tmp_path / "full" / "ukbench00006.jpg").unlink()
    with pytest.raises(BadDataset, match="ukbench00006.jpg is missing"):
        read_dataset("ukbench", tmp_path)


@pytest.mark.parametrize("name, folder", [("holidays", "jpg"), ("ukbench", "full")])
def test_numbered_names_what_is_missing(tmp_path, name, folder):
    with pytest.raises(BadDataset, match=f"{folder} is missing.*https://"):
        read_dataset(name, tmp_path)
    write_photo(tmp_path / folder / "x.jpg")
    with pytest.raises(BadDataset, match="no photos of this data set"):
        read_dataset(name, tmp_path)


# -- groups ----------------------------------------------------------------------------------------


def check_three_things(benchmark):
    assert benchmark.gallery == sorted(
        [
            "tower/1.jpg",
            "tower/2.jpg",
            "gate/1.jpg",
            "gate/2.jpg",
            "gate/3.jpg",
            "gate/4.jpg",
            "x.jpg",
        ]
    )
    assert [query.own for query in benchmark.queries if query.group == "tower"] == [
        "tower/1.jpg",
        "tower/2.jpg",
    ]
    by_name = {query.own: query for query in benchmark.queries}
    assert len(by_name) == 6
    assert by_name["gate/2.jpg"].truths["many-view"].positives == {
        "gate/1.jpg",
        "gate/3.jpg",
        "gate/4.jpg",
    }
    assert set(by_name["gate/2.jpg"].truths) == {"all groups", "many-view"}
    assert set(by_name["tower/1.jpg"].truths) == {"all groups", "few-view, 2-3"}
    values = benchmark.judge(by_name["tower/1.jpg"], ["tower/1.jpg", "x.jpg", "tower/2.jpg"])
    assert values["all groups"] == values["few-view, 2-3"] == {"mAP": 1 / 2, "recall@1": 0.0}


@pytest.fixture
def things(tmp_path) -> Path:
    root = tmp_path / "photos"
    for number, file in enumerate(
        ["tower/1", "tower/2", "gate/1", "gate/2", "gate/3", "gate/4", "x"]
    ):
        write_photo(root / f"{file}.jpg", number)
    return root


def test_folders(things):
    check_three_things(read_dataset("folders", things))
    write_photo(things / "alone" / "1.jpg")
    assert {query.group for query in read_dataset("folders", things).queries} == {"tower", "gate"}


@pytest.mark.parametrize("place", ["photos/groups.json", "groups.json", "named.json"])
def test_groups_inside_beside_or_named(things, place):
    groups = {
        "tower": ["tower/1.jpg", "tower/2.jpg"],
        "gate": [f"gate/{i}.jpg" for i in range(1, 5)],
    }
    (things.parent / place).write_text(json.dumps(groups))
    named = things.parent / place if place == "named.json" else None
    check_three_things(read_dataset("groups", things, named))


def test_groups_and_folders_say_what_is_wrong(things, tmp_path):
    with pytest.raises(BadGroups, match="groups.json is missing"):
        read_dataset("groups", things)
    (tmp_path / "groups.json").write_text('{"tower": ["tower/1.jpg", "tower/9.jpg"]}')
    with pytest.raises(BadGroups, match="'tower/9.jpg', which is not in"):
        read_dataset("groups", things)
    with pytest.raises(BadGroups, match="No sub-folder"):
        read_dataset("folders", things / "tower")
    with pytest.raises(BadDataset, match="belongs to the data set groups"):
        read_dataset("folders", things, tmp_path / "groups.json")
    with pytest.raises(BadDataset, match="no folder"):
        read_dataset("folders", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadDataset, match="no photo in a supported format"):
        read_dataset("folders", tmp_path / "empty")


@pytest.mark.parametrize(
    "text, sentence",
    [
        (
            '{"a": ["tower/1.jpg", "tower/2.jpg"], "b": ["tower/2.jpg", "x.jpg"]}',
            "is in two groups",
        ),
        (
            '{"a": ["tower/1.jpg", "tower/2.jpg"], "a": ["x.jpg", "gate/1.jpg"]}',
            "'a' is in it twice",
        ),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' * 100_000, "nested too deeply"),
        ("null", "it must be"),
        ('{"a": null}', "it must be"),
        ('{"a": [null, null]}', "it must be"),
        ('{"a": [1, 2]}', "it must be"),
        ("9" * 5000, "cannot be read"),
        ("{}", "names no groups"),
        ("\x81", "not text"),
        ('{"\\ud800": ["tower/1.jpg", "tower/2.jpg"]}', "not valid Unicode"),
        ('{"a": ["tower/1.jpg", "\\udfff"]}', "not valid Unicode"),
    ],
)
def test_groups_that_cannot_be_are_refused(things, tmp_path, text, sentence):
    (tmp_path / "groups.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BadGroups, match=sentence):
        read_dataset("groups", things)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_groups_are_read_as_people_write_them(things, encoding):
    write_photo(things / "tower" / "caf\xe9.jpg")
    write_photo(things / "tower" / "cafe\u0301 2.jpg")
    files = ["./tower/caf\xe9.jpg", f"{things}/tower/caf\xe9 2.jpg", "tower//1.jpg"]
    text = json.dumps({"caf\xe9": files}, ensure_ascii=False)
    (things / "groups.json").write_bytes(text.encode(encoding))
    groups = {query.group for query in read_dataset("groups", things).queries}
    named = [query.own for query in read_dataset("groups", things).queries]
    assert groups == {"caf\xe9"}
    assert named == ["tower/caf\xe9.jpg", "tower/cafe\u0301 2.jpg", "tower/1.jpg"]


def test_the_listing_agrees_with_what_a_store_would_hold(things):
    write_photo(things / ".hidden" / "1.jpg")
    write_photo(things / "deep" / "er" / "1.PNG")
    (things / ".a.jpg").write_bytes(b"")
    (things / "note.txt").write_text("no photo")
    (things / "loop").symlink_to(things)
    (things / os.fsdecode(b"bad\xff.jpg")).write_bytes(b"")
    assert photos_below(things) == scan(things).files


# -- names that lead elsewhere ---------------------------------------------------------------------

ELSEWHERE = ["/etc/hosts", "../secret", "a/../../secret", "", 7, "a\0b", "..\\secret"]


@pytest.mark.parametrize("part", ["imlist", "qimlist"])
@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_ground_truth_names_nothing_outside_its_folder(revisited, part, name):
    write_photo(revisited / "secret.jpg")
    names = [name, *GND[part][1:]]
    (revisited / "gnd_roxford5k.pkl").write_bytes(pickle.dumps({**GND, part: names}))
    with pytest.raises(BadDataset, match="not a ground truth.*name"):
        read_dataset("roxford5k", revisited)


@pytest.mark.parametrize("name", ["../../secret/012345", "/0123456", "012345..", 7])
def test_an_sfm_table_names_nothing_outside_its_folder(tmp_path, name):
    part = {"cids": [name, "0123456", "1234567"], "cluster": [1, 1, 2], "qidxs": [0], "pidxs": [1]}
    (tmp_path / "sfm.pkl").write_bytes(pickle.dumps({"train": part}))
    with pytest.raises(BadTrainingData, match="sfm.pkl is not a retrieval-SfM table"):
        read_sfm(tmp_path / "sfm.pkl", tmp_path)


def test_an_sfm_table_whose_columns_do_not_fit_is_refused(tmp_path):
    part = {"cids": ["0123456", "1234567"], "cluster": [1, 1], "qidxs": [0], "pidxs": [2]}
    for change in ({}, {"pidxs": [-1]}, {"pidxs": [[[1]]]}, {"pidxs": [10**30]}, {"cluster": [1]}):
        (tmp_path / "sfm.pkl").write_bytes(pickle.dumps({"train": part | change}))
        with pytest.raises(BadTrainingData, match="sfm.pkl is not a retrieval-SfM table"):
            read_sfm(tmp_path / "sfm.pkl", tmp_path)


@pytest.mark.parametrize(
    "rows", ["7,abcd /etc", "7,../../secret", "7,ab", "7", "landmark,7", '7,"\0"']
)
def test_a_landmarks_table_names_nothing_outside_its_folder(tmp_path, rows):
    (tmp_path / "clean.csv").write_text(f"landmark_id,images\n{rows}\n")
    with pytest.raises(BadTrainingData, match="clean.csv is not a table of landmarks"):
        read_landmarks_csv(tmp_path / "clean.csv", tmp_path)
