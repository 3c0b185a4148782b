"""Page "How it works": every stage of a search, on the visitor's own photo."""

from __future__ import annotations

import html
from collections.abc import Iterator
from itertools import count

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from extractor import decode
from serving.explanation.explain import FIRST, Explained, explain, pixels_of
from serving.galleries.gallery import Gallery, NoGallery
from serving.refusal import Refused

from ..i18n.translate import number, tr, tr_known
from ..state.answer import prepare_question
from ..state.query_image import QueryImage, gallery_subject
from ..state.question import Question, part_of
from ..state.served import first
from ..state.turns import in_turn
from ..widgets.component import drawing
from ..widgets.headings import hero
from ..widgets.match import match_viewer
from ..widgets.part import WHOLE
from ..widgets.timing import timing_bar
from .how_pictures import diffusion_picture, heat_picture, lists_picture, moves_picture


def render() -> None:
    """Draw the page."""
    try:
        gallery = first()
    except NoGallery as error:
        st.error(tr_known(str(error)))
        return
    question = own_question(gallery)
    (subject,) = question.subjects
    text = tr(
        "The steps of a search, shown on “{title}” with the numbers of this one. Search "
        "with another photo to see them on that one.",
        title=subject.title,
    )
    hero(tr("How it works"), text)
    try:
        explanation = explained(gallery, question)
    except Refused as refusal:
        st.warning(tr_known(str(refusal)), icon=":material/hourglass_top:")
        return
    positions = count(1)  # some galleries have fewer steps
    draw_descriptor(gallery, subject, explanation, positions)
    draw_candidates(gallery, explanation, positions)
    draw_diffusion(gallery, subject, explanation, positions)
    draw_verification(gallery, subject, explanation, positions)
    draw_graph(gallery, explanation, positions)
    st.html(timing_bar(explanation.result))


def own_question(gallery: Gallery) -> Question:
    """A question with the last query photo, and its part if it was a single photo."""
    subject, parameters = own_subject(gallery), st.session_state.get("question", {})
    photos = [*parameters.get("upload", ()), *parameters.get("photo", ())]
    single = photos in ([subject.file], [subject.token])
    return Question((subject,), part_of(parameters.get("part", [""])[-1]) if single else WHOLE)


def own_subject(gallery: Gallery) -> QueryImage:
    """The visitor's last query photo, else the first sample."""
    state, catalogue = st.session_state, gallery.engine.store.catalogue
    for upload in state.get("uploaded", {}).values():
        if upload.picture is not None:
            return upload
    photo = catalogue.find(state.get("visited") or "") or gallery.samples[0]
    return gallery_subject(gallery.engine, photo.id)


def explained(gallery: Gallery, question: Question) -> Explained:
    """Explain a search; the session caches the last explanation. Raises Refused."""
    (subject,) = question.subjects
    cache_key = question.key, gallery.engine.store.version
    before, explanation = st.session_state.get("explained", (None, None))
    if before == cache_key:
        return explanation
    query, _ = prepare_question(gallery, question, ("sift",))

    def work() -> Explained:
        if subject.picture is not None:
            pixels = decode(subject.picture)  # our own encoding
        else:
            pixels = pixels_of(gallery, gallery.engine.store.catalogue.find(subject.file).id)
        return explain(gallery, query, pixels)

    explanation = in_turn(work, counted=not st.session_state.pop("counted", False))
    st.session_state.explained = cache_key, explanation
    return explanation


def step(heading: str, sentences: str, positions: Iterator[int]) -> DeltaGenerator:
    """Draw the heading and text of a step at the next position.

    Returns the column for its picture.
    """
    text, picture = st.columns([2, 3], gap="large", vertical_alignment="top")
    position = f'<span aria-hidden="true">{next(positions)}</span>'
    text.html(
        f'<h2 class="step">{position}{html.escape(heading)}</h2><p>{html.escape(sentences)}</p>'
    )
    return picture


def draw_descriptor(
    gallery: Gallery, subject: QueryImage, explanation: Explained, positions: Iterator[int]
) -> None:
    card = gallery.engine.extractor.card
    text = tr(
        "A network turns the photo into {count} {count:number|numbers}, its descriptor; photos of "
        "the same thing get similar ones.",
        count=number(card.output_dim),
    )
    heat = explanation.heat
    if heat is None:
        text += " " + tr("No attention map is available for this model.")
    elif explanation.region is None:
        text += " " + tr(
            "Half of the descriptor comes from the brightest {share} % of the photo.",
            share=number(100 * share_of_half(heat)),
        )
    else:
        text += " " + tr(
            "Only the part in the frame counts; half of the descriptor comes from its brightest "
            "{share} %.",
            share=number(100 * share_of_half(heat)),
        )
    label = tr("Where the descriptor looks")
    with step(tr("It looks"), text, positions):
        drawing(heat_picture(subject.image, heat, explanation.region, label), "heat")


def share_of_half(heat: np.ndarray) -> float:
    """The smallest share of positions that holds half of the heat, 0 to 1."""
    total = np.cumsum(np.sort(heat.ravel())[::-1])
    return float((np.searchsorted(total, 0.5) + 1) / heat.size)


def draw_candidates(gallery: Gallery, explanation: Explained, positions: Iterator[int]) -> None:
    store = gallery.engine.store
    in_lists = sum(len(entry.ids) for entry in explanation.lists)
    index = store.index.index.stats()
    if not explanation.lists:
        return  # an index without lists, or in a server, has none to show
    text = tr(
        "The index holds {count} {count:descriptor|descriptors} in {lists} {lists:list|lists} of "
        "similar ones, each packed into {bytes} {bytes:byte|bytes}. This search visited {visited} "
        "{visited:list|lists}, nearest first, with {held} {held:photo|photos}, and compared the "
        "best of these exactly.",
        count=number(len(store)),
        lists=number(index.lists),
        visited=number(len(explanation.lists)),
        bytes=number(index.code_bytes),
        held=number(in_lists),
    )
    with step(tr("It finds"), text, positions):
        drawing(lists_picture(store, explanation), "lists")


def draw_diffusion(
    gallery: Gallery, subject: QueryImage, explanation: Explained, positions: Iterator[int]
) -> None:
    trace = explanation.diffusion
    if len(trace.seeds) == 0:
        text = tr(
            "Diffusion starts from the photos that have yours among their own nearest. Here there "
            "are none, so the order stays the same."
        )
    else:
        text = tr(
            "Diffusion starts from the photos that have yours among their own nearest, {seeds} "
            "here, and walks on from neighbour to neighbour. Of the other photos it reaches, "
            "{reached} {reached:is|are} shown; the first gets {visits} % of the visits of the most "
            "visited photo.",
            seeds=number(len(trace.seeds)),
            reached=number(len(trace.reached)),
            visits=number(100 * trace.visits.max(initial=0)),
        )
    with step(tr("It walks"), text, positions):
        drawing(diffusion_picture(gallery.engine.store, subject, trace, tr("The walk")), "walk")


def draw_verification(
    gallery: Gallery, subject: QueryImage, explanation: Explained, positions: Iterator[int]
) -> None:
    proven_hits = [hit for hit in explanation.result.hits if hit.verified]
    best = max(proven_hits, key=lambda hit: hit.inliers or 0, default=None)
    if best is None:
        text = tr(
            "Points of the photo are matched with those of the best hits; where many fit one view "
            "of one thing, it is proven. Here that is the case for no photo."
        )
    else:
        text = tr(
            "Points of the photo are matched with those of the best hits; where many fit one view "
            "of one thing, it is proven. Here {points} {points:point does|points do}; proven "
            "photos: {count} of the first {of}.",
            points=number(best.inliers or 0),
            count=number(len(proven_hits)),
            of=number(len(explanation.result.hits)),
        )
    keypoints = gallery.engine.store.keypoints
    voting = tr(
        "The strongest points of the photo, at most {points}, vote for gallery photos with similar "
        "points. Points in the keypoint index: {held}. Photos with many votes are compared, too, "
        "even if the descriptor misses them.",
        points=number(keypoints.form.points),
        held=number(len(keypoints)),
    )
    with step(tr("It proves"), f"{text} {voting}", positions):
        if best is not None:
            hit_image = gallery_subject(gallery.engine, best.id).image
            match_viewer(
                subject.image,
                hit_image,
                best.verification,
                key="how-match",
                region=explanation.region,
            )


def draw_graph(gallery: Gallery, explanation: Explained, positions: Iterator[int]) -> None:
    moves = explanation.moves
    if moves is None:
        return  # the gallery was built without comparing its photos
    text = tr(
        "The photos of the gallery were matched with each other when it was built. A photo falls "
        "if it matches photos that seem to show another thing: {fell} of the first {of} here. It "
        "rises if photos already found lead to it: {rose} here.",
        of=number(min(FIRST, len(gallery.engine.store))),
        fell=number(len(moves.fell)),
        rose=number(len(moves.rose)),
    )
    with step(tr("It cross-checks"), text, positions):
        if moves.fell or moves.rose:
            drawing(moves_picture(gallery.engine.store, moves), "moves")
