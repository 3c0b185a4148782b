"""The page: a photo in, the photos of the same thing out, with the evidence."""

from __future__ import annotations

import html
import re

import streamlit as st

from extractor import BadModel, BadPhoto, Region
from index_store import StoreError
from search import Engine, PreparedQuery, SearchResult

from .match import match_viewer
from .part import choose_part
from .results import ASSETS, Pane, one_pane, results_grid, two_panes
from .samples import MISSED
from .service import Gallery, service
from .stages import OFF, Stages, choose_stages
from .subject import Subject, forget, gallery_subject, prepared_query, take_photo

FIRST_PAGE = 24
MORE = 24
STAGES = {
    "decode": ("decode", "#94a3b8"),
    "describe": ("describe", "#0ea5a4"),
    "keypoints": ("keypoints", "#f8b4b0"),
    "index": ("index", "#f59e0b"),
    "diffusion": ("diffusion", "#8b5cf6"),
    "sift": ("SIFT", "#ef6461"),
}


# -- what the visitor does -------------------------------------------------------------------------


def take_upload(key: str) -> None:
    """Search with the photo just uploaded.

    The uploader is emptied at once, so that Streamlit lets go of the file.

    Args:
        key: of the uploader that changed. On a slow line that can be one that was already
            replaced, and then empty.
    """
    file = st.session_state.get(key)
    if file is None:
        return
    start_over()
    try:
        take_photo(file.getvalue(), file.name)
    except BadPhoto as error:
        st.session_state.problem = str(error)


def search_with(engine: Engine, id: int) -> None:
    """Make a gallery photo the query.

    Its file name goes into the page's address, which can be shared.
    """
    start_over()
    st.query_params["photo"] = engine.store.catalogue.photo(id).file


def start_over() -> None:
    """Forget the photo searched with, and everything made of it."""
    forget()
    state = st.session_state
    state.pop("problem", None)
    state.pop("weaker", None)
    state.shown = FIRST_PAGE
    st.query_params.pop("photo", None)
    new_uploader()


def uploader_key() -> str:
    return f"upload-{st.session_state.get('uploads', 0)}"


def new_uploader() -> None:
    """A fresh key empties the uploader: Streamlit has no other way."""
    st.session_state.uploads = st.session_state.get("uploads", 0) + 1


def current_subject(engine: Engine) -> Subject | None:
    """The upload, else the photo the page's address names."""
    if "upload" in st.session_state:
        return st.session_state.upload
    if "photo" in st.query_params:
        photo = engine.store.catalogue.find(st.query_params["photo"])
        if photo is not None:
            return gallery_subject(engine, photo.id)
        st.session_state.problem = "The photo this link names is not in the gallery."
        st.query_params.pop("photo")
    return None


# -- what the visitor sees -------------------------------------------------------------------------


def render() -> None:
    """Draw the whole page once."""
    st.set_page_config(
        "Same Thing: search by photo", page_icon=str(ASSETS / "icon.png"), layout="wide"
    )
    st.html(f"<style>{(ASSETS / 'page.css').read_text()}</style>")
    try:
        with st.spinner("Opening the gallery…"):
            galleries = service.galleries()
    except (StoreError, BadModel, FileNotFoundError) as error:
        st.error(str(error))
        return
    st.session_state.setdefault("shown", FIRST_PAGE)
    gallery = next(iter(galleries.values()))
    subject = current_subject(gallery.engine)
    header(gallery.engine, with_uploader=subject is not None)
    if problem := st.session_state.get("problem"):
        st.error(problem, icon=":material/broken_image:")
    if subject is None:
        start_page(gallery, list(galleries)[1:])
    else:
        results_page(galleries, subject)


def plain(text: str) -> str:
    """Text as it is where Streamlit would read Markdown: file names are not ours."""
    return re.sub(r"([^\w\s])", r"\\\1", text)


def header(engine: Engine, with_uploader: bool) -> None:
    brand, right = st.columns([3, 2], vertical_alignment="center")
    brand.html(
        '<div class="brand"><b>Same Thing</b>'
        f"<span>search {len(engine.store):,} photos by photo</span></div>"
    )
    if with_uploader:
        with right, st.container(key="upload-again"):
            uploader("collapsed")


def uploader(label_visibility: str) -> None:
    key = uploader_key()
    st.file_uploader(
        "Drop a photo here, or choose one",
        type=["jpg", "jpeg", "png", "webp"],
        key=key,
        on_change=take_upload,
        args=(key,),
        label_visibility=label_visibility,
    )


def start_page(gallery: Gallery, others: list[str]) -> None:
    """What a visitor sees who has not searched yet.

    Args:
        gallery: what the page opens with.
        others: names of the other descriptors.
    """
    text, drop = st.columns([3, 2], vertical_alignment="bottom", gap="large")
    text.html(
        '<div class="hero"><h1>Find photos of the very same thing</h1>'
        "<p>Upload a photo of a building, a painting, an object. You get the other photos of that "
        "very thing first, with the matching points as evidence.</p></div>"
    )
    with drop, st.container(key="upload-first"):
        uploader("visible")
        st.html('<p class="small">Your photo is forgotten when you leave.</p>')
    st.html('<div class="section">Or start with one of these</div>')
    samples, engine = gallery.samples, gallery.engine
    with st.grid(columns=7, min_column_width=150, gap="small", key="samples"):
        for photo in samples:
            with st.container(key=f"tile-{photo.id}"):
                st.image(engine.store.thumbnail(photo.id), width="stretch", alt=photo.title)
                if st.button(plain(photo.title), key=f"sample-{photo.id}", width="stretch"):
                    search_with(engine, photo.id)
                    st.rerun()
    if samples[-1].file == MISSED:
        tip = f", and what {html.escape(others[0])} makes of it" if others else ""
        st.html(
            '<p class="small">The last one is hard: the Louvre by day, which this gallery knows '
            f"only by night. See what an honest miss looks like{tip}.</p>"
        )


def results_page(galleries: dict[str, Gallery], subject: Subject) -> None:
    """The photo searched with, the toggles, and the hits."""
    with st.container(key="strip"):
        card, switches, clock = st.columns([5, 6, 4], vertical_alignment="center", gap="medium")
        with card:
            region = subject_card(subject)
        with switches, st.container(horizontal=True, key="toggles", gap="medium"):
            asked = choose_stages(galleries)
        k = st.session_state.shown
        engine = galleries[asked.descriptor].engine
        with st.spinner("Searching…", show_time=False):
            query, problem = query_or_whole(engine, subject, region)
            result = engine.search(query, asked.rerank, asked.verify, k=k + 1)
            other = None
            if asked.against is not None:
                other = other_answer(galleries, subject, region, asked, k)
        more = len(result.hits) > k
        del result.hits[k:]
        with clock:
            st.html(timing_bar(result))
    if problem:
        st.warning(problem, icon=":material/broken_image:")
    for note in result.notes:
        st.caption(note)
    if not result.hits:
        st.info("This photo is the only one in the gallery.")
        return
    if other is not None:
        name = asked.stages if asked.against == OFF else f"{asked.descriptor}: {asked.stages}"
        grids = [results_grid(two_panes(other, Pane(name, engine.store, result)), key="results")]
    else:
        grids, more = folded_results(engine, result, more)
    if more:
        st.button("Show more", on_click=show_more, width="stretch")
    # The browser names files: a build may have given the ids to other photos since.
    for clicked in grids:
        if clicked.search and (photo := engine.store.catalogue.find(clicked.search)):
            search_with(engine, photo.id)
            st.rerun()
        if clicked.open and (photo := engine.store.catalogue.find(clicked.open)):
            evidence(engine, subject, query, photo.id)


def other_answer(
    galleries: dict[str, Gallery], subject: Subject, region: Region | None, asked: Stages, k: int
) -> Pane:
    """What the answer is compared with: the same descriptor without reranking, or another one."""
    if asked.against == OFF:
        engine = galleries[asked.descriptor].engine
        query, _ = query_or_whole(engine, subject, region)
        return Pane(OFF, engine.store, engine.search(query, k=k))
    engine = galleries[asked.against].engine
    query, _ = query_or_whole(engine, subject, region)
    answer = engine.search(query, asked.rerank, asked.verify, k=k)
    return Pane(f"{asked.against}: {asked.stages}", engine.store, answer)


def query_or_whole(
    engine: Engine, subject: Subject, region: Region | None
) -> tuple[PreparedQuery, str]:
    """The query; that of the whole photo, and a sentence, if its part cannot be looked at."""
    try:
        return prepared_query(engine, subject, region), ""
    except (OSError, BadPhoto):
        # Only a part of a gallery photo is described anew, from its file.
        problem = "The file of this photo has changed or is gone: the whole photo is searched with."
        return prepared_query(engine, subject, None), problem


def folded_results(engine: Engine, result: SearchResult, more: bool) -> tuple[list, bool]:
    """Draw the hits, the weaker ones only when asked for.

    Args:
        engine: that found them.
        result: the hits to show.
        more: whether there are others.

    Returns:
        The drawn grids, and whether there is more to show in them.
    """
    if result.hits[0].confidence == "unsure":
        st.caption("Nothing here is likely to be the same thing. These look most alike.")
        return [results_grid(one_pane(engine.store, result.hits), key="results")], more
    strong = [hit for hit in result.hits if not hit.is_weak]
    weak = result.hits[len(strong) :]
    grids = [results_grid(one_pane(engine.store, strong), key="results")]
    if not weak:
        return grids, more
    if not st.session_state.get("weaker"):
        st.button("Show weaker matches", on_click=show_weaker, width="stretch")
        return grids, False
    grids.append(results_grid(one_pane(engine.store, weak, "Weaker matches"), key="weak-results"))
    return grids, more


def show_more() -> None:
    """As many hits again."""
    st.session_state.shown += MORE


def show_weaker() -> None:
    """Unfold the weaker hits."""
    st.session_state.weaker = True


def subject_card(subject: Subject) -> Region | None:
    """Draw the photo searched with; the part of it that counts, None for all of it."""
    with st.container(horizontal=True, wrap=False, vertical_alignment="center", key="query"):
        card = st.empty()
        with st.popover(
            "Part", type="tertiary", icon=":material/crop:", help="Search with a part of the photo"
        ):
            region = choose_part(subject.small, uploader_key())
        origin = subject.origin if region is None else "A part of it"
        card.html(
            f'<div class="query"><img src="{subject.small}" alt="The photo searched with"><div>'
            f'<b>{html.escape(subject.title)}</b><span class="small">{origin}</span></div></div>'
        )
        st.button("New search", on_click=start_over, type="tertiary", icon=":material/close:")
    return region


@st.dialog("The evidence", width="large")
def evidence(engine: Engine, subject: Subject, query: PreparedQuery, id: int) -> None:
    """Query and hit side by side with the matched points."""
    hit = engine.explain(query, id)
    if hit.verified:
        st.markdown(
            f"**{hit.inliers} points** of the two photos fit together: very likely the same thing."
        )
    elif hit.inliers is None:
        st.markdown(
            "The points could not be compared: the file of one of the photos has changed or is "
            "gone."
        )
    elif hit.inliers:
        st.markdown(f"Only **{hit.inliers} points** fit together, too few to prove anything.")
    else:
        st.markdown(
            "No points fit together. The two may look alike, or show the same thing from too far "
            "apart."
        )
    shown = gallery_subject(engine, id).image
    match_viewer(subject.image, shown, hit.verification, key=f"match-{id}")
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Search with this photo", icon=":material/image_search:", type="primary"):
            search_with(engine, id)
            st.rerun()
        ranks = ", ".join(f"{STAGES.get(s, (s,))[0]} {rank}" for s, rank in hit.stage_ranks.items())
        st.caption(
            f"{plain(hit.file)} · similarity {hit.similarity:.3f}"
            + (f" · rank by {ranks}" if ranks else "")
        )


# -- time ------------------------------------------------------------------------------------------


def timing_bar(result: SearchResult) -> str:
    """HTML of one thin stacked bar and its legend; stages whose earlier result was reused are
    faded.
    """
    timings = result.reused_ms | result.timings_ms
    total = sum(timings.values()) or 1
    parts, legend = [], []
    for stage, (name, colour) in STAGES.items():
        if stage not in timings:
            continue
        ms = timings[stage]
        faded = "" if stage in result.timings_ms else ' class="reused"'
        title = "just now" if stage in result.timings_ms else "from before, reused"
        shown = f"{ms:.0f}" if ms >= 10 else f"{ms:.1f}"
        parts.append(f'<i{faded} style="width:{100 * ms / total:.1f}%;background:{colour}"></i>')
        legend.append(
            f'<span{faded} title="{title}"><i style="background:{colour}"></i>'
            f"{name} {shown} ms</span>"
        )
    track = f'<div class="track">{"".join(parts)}</div>'
    return f'<div class="times">{track}<div class="legend">{"".join(legend)}</div></div>'
