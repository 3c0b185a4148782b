"""The visitor's question in URL parameters, so that it can be shared, reloaded and revisited.

    photo=FILE, upload=TOKEN    query photos, repeated for several
    part=LEFT,TOP,RIGHT,BOTTOM  part of the photo, in percent
    more=FILE, less=FILE        gallery photos marked as right and as wrong
    shown=COUNT                 number of hits

Streamlit binds the switches to further parameters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import streamlit as st

from extractor import Region
from search import Engine
from serving.settings import settings

from ..i18n.translate import number, tr
from ..widgets.part import WHOLE, Percents, as_part, region_of
from .query_image import QueryImage, gallery_subject, linked_upload
from .url_params import values, write, write_all

FIRST_PAGE = 24
MORE = 24
MAX_HITS = 480
MAX_FEEDBACK = 12  # gallery photos marked as right or wrong
QUESTION_PARAMETERS = ("photo", "upload", "part", "more", "less", "shown")


@dataclass(frozen=True)
class Question:
    """A question.

    Attributes:
        subjects: the query photos.
        part: part of a single photo; else WHOLE.
        more, less: files of gallery photos marked as right and as wrong.
    """

    subjects: tuple[QueryImage, ...]
    part: Percents = WHOLE
    more: tuple[str, ...] = ()
    less: tuple[str, ...] = ()

    @property
    def region(self) -> Region | None:
        """The part as fractions, None for the whole photo."""
        return region_of(self.part)

    @property
    def key(self) -> tuple:
        """Unique key of the question."""
        return tuple(s.key for s in self.subjects), self.part, self.more, self.less

    @property
    def without_feedback(self) -> Question:
        """The question without feedback on hits."""
        return replace(self, more=(), less=())

    @property
    def whole(self) -> Question:
        """The question with the whole photo."""
        return replace(self, part=WHOLE)


def read_question(engine: Engine) -> Question | None:
    """Read the question from the URL, None if there is none.

    Unknown photos are ignored, with a message in `st.session_state.problem`.
    """
    uploaded = st.session_state.get("uploaded", {})
    find = engine.store.catalogue.find
    subjects: list[QueryImage] = []
    for token in unique_values("upload", settings().query_photos):
        upload = uploaded.get(token) or linked_upload(token)
        if upload is None:
            st.session_state.problem = tr(
                "This link has expired. Links to uploads work for {minutes} "
                "{minutes:minute|minutes}. Please choose the photo again.",
                minutes=number(settings().link_minutes),
            )
        else:
            subjects.append(upload)
    for file in unique_values("photo", settings().query_photos - len(subjects)):
        photo = find(file)
        if photo is None:
            st.session_state.problem = tr("The photo this link names is not in the gallery.")
        else:
            subjects.append(gallery_subject(engine, photo.id))
    if not subjects:
        if values("upload") or values("photo"):
            clear_question()
        return None
    part = read_part() if len(subjects) == 1 and subjects[0].can_be_cropped else WHOLE
    if len(subjects) == 1 and not subjects[0].can_be_cropped:
        part = described_part(subjects[0], read_part())
    query_files = {subject.file for subject in subjects}
    feedback = [
        tuple(
            file
            for file in unique_values(name, MAX_FEEDBACK)
            if file not in query_files and find(file)
        )
        for name in ("more", "less")
    ]
    less = tuple(file for file in feedback[1] if file not in feedback[0])
    return Question(tuple(subjects), part, feedback[0], less)


def described_part(subject: QueryImage, part: Percents) -> Percents:
    """The part if the cache has its description; else the whole photo."""
    region = region_of(part)
    cached = () if subject.cached is None else subject.cached.photos
    return part if any(described == region for _, described in cached) else WHOLE


def write_question(subjects: Iterable[QueryImage]) -> None:
    """Write a new question to the URL."""
    subjects = list(subjects)
    write_photos(
        upload=[s.token for s in subjects if s.token is not None],
        photo=[s.file for s in subjects if s.file is not None],
    )
    st.session_state.question = question_parameters()


def write_photos(**photos: list[str]) -> None:
    """Write the query photos to the URL and clear the rest of the question."""
    write_all({name: photos.get(name, []) for name in QUESTION_PARAMETERS})


def question_parameters() -> dict[str, list[str]]:
    """The URL parameters of the question, to be restored by `restore_question`."""
    parameters = {name: values(name) for name in QUESTION_PARAMETERS}
    return {name: value for name, value in parameters.items() if value}


def restore_question(question: dict[str, list[str]]) -> None:
    """Restore a question if the URL has none."""
    if not any(values(name) for name in QUESTION_PARAMETERS):
        for name, value in question.items():
            write(name, value)


def clear_question() -> None:
    """Remove the question from the URL."""
    write_all({name: [] for name in QUESTION_PARAMETERS})


def mark_photo(file: str, name: str) -> None:
    """Mark a gallery photo as right ("more") or wrong ("less"), or remove the mark ("")."""
    for kind in ("more", "less"):
        files = [other for other in unique_values(kind, MAX_FEEDBACK) if other != file]
        write(kind, [*files, file][-MAX_FEEDBACK:] if kind == name else files)


def drop_photo(subject: QueryImage) -> None:
    """Remove one of the query photos."""
    name, value = ("photo", subject.file) if subject.token is None else ("upload", subject.token)
    write(name, [other for other in unique_values(name, MAX_FEEDBACK) if other != value])
    write("part", [])


def read_part() -> Percents:
    """The part in the URL; WHOLE if there is none or it is invalid."""
    return part_of("".join(values("part")[-1:]))


def part_of(text: str) -> Percents:
    """Parse a part from a URL parameter; WHOLE if it is invalid."""
    numbers = text.split(",")
    if not all(number.isdecimal() and len(number) < 4 for number in numbers):
        return WHOLE
    return as_part([int(number) for number in numbers]) or WHOLE


def write_part(part: Percents) -> None:
    """Write a part to the URL."""
    write("part", [] if part == WHOLE else [",".join(map(str, part))])


def hits_shown() -> int:
    """Number of hits to show, FIRST_PAGE to MAX_HITS."""
    text = "".join(values("shown")[-1:])
    count = int(text) if text.isdecimal() and len(text) < 6 else 0
    return min(max(count, FIRST_PAGE), MAX_HITS)


def show_more() -> None:
    """Show MORE further hits."""
    write("shown", [str(min(hits_shown() + MORE, MAX_HITS))])


def unique_values(name: str, limit: int) -> list[str]:
    """Distinct values of a URL parameter, at most `limit`."""
    return list(dict.fromkeys(values(name)))[: max(0, limit)]
