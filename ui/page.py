"""The page: a photo in, the photos of the same thing out, with the evidence."""

from __future__ import annotations

import base64
import html
import re
from dataclasses import dataclass

import streamlit as st

from extractor import BadModel, BadPhoto, Region, decode, encode_jpeg, resize
from index_store import StoreError
from search import Engine, SearchResult

from .match import match_viewer
from .part import choose_part
from .results import ASSETS, one_pane, results_grid, two_panes
from .routes import thumbnail_url, view_url
from .samples import MISSED, sample_queries
from .service import service

FIRST_PAGE = 24
MORE = 24
VIEW_SIDE = 800  # pixels of an uploaded photo in the match viewer; it travels inside the page
STAGES = {
    "decode": ("decode", "#94a3b8"),
    "describe": ("describe", "#0ea5a4"),
    "index": ("index", "#f59e0b"),
    "diffusion": ("diffusion", "#8b5cf6"),
    "sift": ("SIFT", "#ef6461"),
}


@dataclass(frozen=True)
class Query:
    """What the visitor searches with. source: the upload's bytes, or the id of a gallery photo.

    image: {"src", "width", "height", "title"} for the browser.
    """

    source: bytes | int
    title: str
    origin: str
    image: dict


def upload_query(data: bytes, name: str) -> Query:
    """Raises BadPhoto."""
    photo = resize(decode(data), VIEW_SIDE)
    src = "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(photo, 80)).decode()
    return Query(data, name, "Your photo", picture(src, photo.shape, "Your photo"))


def gallery_query(engine: Engine, id: int) -> Query:
    """Raises KeyError for an unknown id."""
    photo = engine.store.catalogue.photo(id)
    shown = picture(view_url(engine.store, id), (photo.height, photo.width), photo.title)
    return Query(id, photo.title, "From the gallery", shown)


def picture(src: str, shape: tuple[int, ...], title: str) -> dict:
    return {"src": src, "width": shape[1], "height": shape[0], "title": title}


# -- what the visitor does ---------------------------------------------------------------------------------------------


def take_upload(key: str) -> None:
    """Search with the photo just uploaded. The uploader is emptied at once, so that Streamlit lets go of the file.

    key: of the uploader that changed. On a slow line that can be one that was already replaced, and then empty.
    """
    file = st.session_state.get(key)
    if file is None:
        return
    start_over()
    try:
        st.session_state.upload = upload_query(file.getvalue(), file.name)
    except BadPhoto as error:
        st.session_state.problem = str(error)


def search_with(engine: Engine, id: int) -> None:
    """Make a gallery photo the query; its file name goes into the page's address, which can be shared."""
    start_over()
    st.query_params["photo"] = engine.store.catalogue.photo(id).file


def start_over() -> None:
    state = st.session_state
    state.pop("upload", None)
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


def current_query(engine: Engine) -> Query | None:
    """The upload, else the photo the page's address names."""
    if "upload" in st.session_state:
        return st.session_state.upload
    if "photo" in st.query_params:
        photo = engine.store.catalogue.find(st.query_params["photo"])
        if photo is not None:
            return gallery_query(engine, photo.id)
        st.session_state.problem = "The photo this link names is not in the gallery."
        st.query_params.pop("photo")
    return None


# -- what the visitor sees ---------------------------------------------------------------------------------------------


def render() -> None:
    """Draw the whole page once."""
    st.set_page_config(
        "Same Thing: search by photo", page_icon=str(ASSETS / "icon.png"), layout="wide"
    )
    st.html(f"<style>{(ASSETS / 'page.css').read_text()}</style>")
    try:
        with st.spinner("Opening the gallery…"):
            engine = service.engine()
    except (StoreError, BadModel, FileNotFoundError) as error:
        st.error(str(error))
        return
    st.session_state.setdefault("shown", FIRST_PAGE)
    query = current_query(engine)
    header(engine, with_uploader=query is not None)
    if problem := st.session_state.get("problem"):
        st.error(problem, icon=":material/broken_image:")
    if query is None:
        start_page(engine)
    else:
        results_page(engine, query)


def plain(text: str) -> str:
    """Text as it is where Streamlit would read Markdown: file names are not ours."""
    return re.sub(r"([^\w\s])", r"\\\1", text)


def header(engine: Engine, with_uploader: bool) -> None:
    brand, right = st.columns([3, 2], vertical_alignment="center")
    brand.html(
        f'<div class="brand"><b>Same Thing</b><span>search {len(engine.store):,} photos by photo</span></div>'
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


def start_page(engine: Engine) -> None:
    text, drop = st.columns([3, 2], vertical_alignment="bottom", gap="large")
    text.html(
        '<div class="hero"><h1>Find photos of the very same thing</h1>'
        "<p>Upload a photo of a building, a painting, an object. You get the other photos of that very thing first, "
        "with the matching points as evidence.</p></div>"
    )
    with drop, st.container(key="upload-first"):
        uploader("visible")
        st.html('<p class="small">Your photo is forgotten when you leave.</p>')
    st.html('<div class="section">Or start with one of these</div>')
    samples = sample_queries(engine.store)
    with st.grid(columns=7, min_column_width=150, gap="small", key="samples"):
        for photo in samples:
            with st.container(key=f"tile-{photo.id}"):
                st.image(engine.store.thumbnail(photo.id), width="stretch", alt=photo.title)
                if st.button(plain(photo.title), key=f"sample-{photo.id}", width="stretch"):
                    search_with(engine, photo.id)
                    st.rerun()
    if samples[-1].file == MISSED:
        st.html(
            '<p class="small">The last one is hard: the Louvre by day, which this gallery knows only by night. '
            "See what an honest miss looks like.</p>"
        )


def results_page(engine: Engine, query: Query) -> None:
    with st.container(key="strip"):
        card, switches, clock = st.columns([5, 6, 4], vertical_alignment="center", gap="medium")
        with card:
            region = query_card(engine, query)
        with switches, st.container(horizontal=True, key="toggles", gap="medium"):
            diffusion = st.toggle(
                "Diffusion",
                value=True,
                key="diffusion",
                bind="query-params",
                help="Walks from photo to photo through the gallery: views unlike yours are reached over views in between.",
            )
            sift = st.toggle(
                "SIFT verification",
                value=True,
                key="sift",
                bind="query-params",
                help="Matches points of your photo with the best hits; those that fit together prove the same thing.",
            )
            compare = st.toggle(
                "Compare",
                key="compare",
                bind="query-params",
                help="Rerank off and on, side by side, with how far each photo moved.",
            )
        k = st.session_state.shown
        with st.spinner("Searching…", show_time=False):
            result = engine.search(
                query.source, diffusion=diffusion, sift=sift, region=region, k=k + 1
            )
            off = engine.search(query.source, region=region, k=k) if compare else None
        more = len(result.hits) > k
        del result.hits[k:]
        with clock:
            st.html(timing_bar(result))
    for note in result.notes:
        st.caption(note)
    if not result.hits:
        st.info("This photo is the only one in the gallery.")
        return
    if compare:
        name = (
            " + ".join(label for label, on in (("Diffusion", diffusion), ("SIFT", sift)) if on)
            or "Rerank off"
        )
        grids = [results_grid(two_panes(engine.store, off, result, name), key="results")]
    else:
        grids, more = folded_results(engine, result, more)
    if more:
        st.button("Show more", on_click=show_more, width="stretch")
    # The browser names files: a build may have given the ids to other photos since the page was drawn.
    for clicked in grids:
        if clicked.search and (photo := engine.store.catalogue.find(clicked.search)):
            search_with(engine, photo.id)
            st.rerun()
        if clicked.open and (photo := engine.store.catalogue.find(clicked.open)):
            evidence(engine, query, region, photo.id)


def folded_results(engine: Engine, result: SearchResult, more: bool) -> tuple[list, bool]:
    """Draw the hits, the weaker ones only when asked for; the drawn grids, and whether there is more to show in them."""
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
    st.session_state.shown += MORE


def show_weaker() -> None:
    st.session_state.weaker = True


def query_card(engine: Engine, query: Query) -> Region | None:
    """Draw the query; the part of it that counts, None for all of it."""
    src = (
        query.image["src"]
        if isinstance(query.source, bytes)
        else thumbnail_url(engine.store, query.source)
    )
    with st.container(horizontal=True, wrap=False, vertical_alignment="center", key="query"):
        card = st.empty()
        with st.popover(
            "Part", type="tertiary", icon=":material/crop:", help="Search with a part of the photo"
        ):
            region = choose_part(src, uploader_key())
        origin = query.origin if region is None else "A part of it"
        card.html(
            f'<div class="query"><img src="{src}" alt="The photo searched with"><div>'
            f'<b>{html.escape(query.title)}</b><span class="small">{origin}</span></div></div>'
        )
        st.button("New search", on_click=start_over, type="tertiary", icon=":material/close:")
    return region


@st.dialog("The evidence", width="large")
def evidence(engine: Engine, query: Query, region: Region | None, id: int) -> None:
    """Query and hit side by side with the matched points."""
    hit = engine.explain(query.source, id, region)
    if hit.verified:
        st.markdown(
            f"**{hit.inliers} points** of the two photos fit together: very likely the same thing."
        )
    elif hit.inliers is None:
        st.markdown(
            "The points could not be compared: the file of one of the photos has changed or is gone."
        )
    elif hit.inliers:
        st.markdown(f"Only **{hit.inliers} points** fit together, too few to prove anything.")
    else:
        st.markdown(
            "No points fit together. The two may look alike, or show the same thing from too far apart."
        )
    match_viewer(query.image, gallery_query(engine, id).image, hit.verification, key=f"match-{id}")
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Search with this photo", icon=":material/image_search:", type="primary"):
            search_with(engine, id)
            st.rerun()
        ranks = ", ".join(f"{STAGES.get(s, (s,))[0]} {rank}" for s, rank in hit.stage_ranks.items())
        st.caption(
            f"{plain(hit.file)} · similarity {hit.similarity:.3f}"
            + (f" · rank by {ranks}" if ranks else "")
        )


# -- time --------------------------------------------------------------------------------------------------------------


def timing_bar(result: SearchResult) -> str:
    """HTML of one thin stacked bar and its legend; stages whose earlier result was reused are faded."""
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
            f'<span{faded} title="{title}"><i style="background:{colour}"></i>{name} {shown} ms</span>'
        )
    return f'<div class="times"><div class="track">{"".join(parts)}</div><div class="legend">{"".join(legend)}</div></div>'
