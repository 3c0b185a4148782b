"""Search options chosen on the page: descriptor, index, reranker and matcher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from extractor import BadModel
from search import MATCHERS, RERANKERS
from serving.galleries.gallery import Gallery
from serving.settings import settings

from ..i18n.translate import tr

NONE = "off"
LABELS = {
    "diffusion": "Diffusion",
    "alpha-qe": "Query expansion",
    "dba": "Database augmentation",
    "k-reciprocal": "k-reciprocal",
    "superglobal": "SuperGlobal",
    "sift": "SIFT",
    "xfeat": "XFeat",
}


@dataclass(frozen=True)
class SearchOptions:
    """Options of one search.

    Attributes:
        descriptor: name of the model.
        index: form of the index that proposes candidates.
        rerank, matcher: reranker and matcher, as for `Engine.search`.
    """

    descriptor: str
    index: str
    rerank: str | None
    matcher: str | None

    @property
    def stages(self) -> str:
        """Titles of the stages that are on."""
        names = [label(name) for name in (self.rerank, self.matcher) if name is not None]
        return " + ".join(names) or tr("Rerank off")

    @property
    def matchers(self) -> tuple[str, ...]:
        """Matchers whose keypoints are extracted when a photo is prepared."""
        return tuple(dict.fromkeys(("sift", self.matcher or "sift")))

    def name(self, other: SearchOptions) -> str:
        """Title beside other options: what differs, and the stages."""
        differing = [
            value
            for value, compared in ((self.descriptor, other.descriptor), (self.index, other.index))
            if value != compared
        ]
        return ": ".join([*differing, self.stages])


@dataclass(frozen=True)
class ChosenOptions:
    """The visitor's choice.

    Attributes:
        options: options of the search.
        against: options of a search to compare with, None without one.
    """

    options: SearchOptions
    against: SearchOptions | None


def label(name: str) -> str:
    """Title of a reranker or matcher."""
    return tr(LABELS.get(name, name))


def choose_options(served: dict[str, Gallery]) -> ChosenOptions:
    """Draw the switches, which are all bound to URL parameters.

    Args:
        served: galleries by name of their model; the page opens with the first.
    """
    names = list(served)
    rerankers, matchers = available_stages(served[names[0]])
    reranker, matcher = chosen("reranker", rerankers), chosen("matcher", matchers)
    rerank = st.toggle(
        label(reranker),
        value=True,
        key="diffusion",
        bind="query-params",
        help=tr(
            "Walks from photo to photo through the gallery and reaches views unlike yours through "
            "views in between."
        )
        if reranker == "diffusion"
        else tr("Finds a better order from the descriptors alone."),
    )
    verify = st.toggle(
        tr("{matcher} verification", matcher=label(matcher)),
        value=True,
        key="sift",
        bind="query-params",
        help=tr(
            "Matches points of your photo with the best hits; those that fit together prove the "
            "same thing."
        ),
    )
    compare = st.toggle(
        tr("Compare"),
        key="compare",
        bind="query-params",
        help=tr("Shows two answers side by side, and how far each photo moved."),
    )
    descriptor = names[0]
    if len(names) > 1:
        descriptor = choice(tr("Descriptor"), names, "descriptor", hidden=True)
    against = None
    with st.popover(tr("Options"), type="tertiary", icon=":material/tune:"):
        with st.container(horizontal=True):
            reranker = choice(tr("Reranker"), rerankers, "reranker")
            matcher = choice(tr("Matcher"), matchers, "matcher")
            index = choice_of_index(served[descriptor], "index")
        if compare:
            st.caption(tr("On the left:"))
            same_first = [descriptor, *(name for name in names if name != descriptor)]
            with st.container(horizontal=True):
                model = descriptor
                if len(names) > 1:
                    model = choice(tr("Descriptor"), same_first, "left-descriptor")
                before = choice(tr("Reranker"), [NONE, *rerankers], "left-reranker")
                points = choice(tr("Matcher"), [NONE, *matchers], "left-matcher")
                form = choice_of_index(served[model], "left-index")
            against = SearchOptions(model, form, unless_off(before), unless_off(points))
    options = SearchOptions(
        descriptor, index, reranker if rerank else None, matcher if verify else None
    )
    return ChosenOptions(options, against)


def choice_of_index(gallery: Gallery, key: str) -> str:
    """Draw a box with the gallery's forms of index if there are several. Returns the choice."""
    forms = gallery.indexes
    return choice(tr("Index"), forms, key) if len(forms) > 1 else forms[0]


def unless_off(name: str) -> str | None:
    """None for "off"."""
    return None if name == NONE else name


def available_stages(gallery: Gallery) -> tuple[list[str], list[str]]:
    """Rerankers and matchers that the settings allow and that are available."""
    allowed = settings()
    rerankers = [name for name in allowed.api_rerank.split(",") if name in RERANKERS]
    matchers = [name for name in allowed.api_verify.split(",") if name in MATCHERS]
    matchers = [name for name in matchers if is_installed(gallery, name)]
    return rerankers or list(RERANKERS)[:1], matchers or list(MATCHERS)[:1]


def is_installed(gallery: Gallery, matcher: str) -> bool:
    """Whether the models of a matcher are installed."""
    try:
        return gallery.engine.matchers[matcher] is not None
    except BadModel:
        return False


def chosen(key: str, options: Sequence[str]) -> str:
    """Value of a box that is not drawn yet: from the session, on the first run from the URL."""
    value = st.session_state.get(key, st.query_params.get(key))
    return value if value in options else options[0]


def choice(title: str, options: Sequence[str], key: str, hidden: bool = False) -> str:
    """Draw a small box; the first option is the default. Returns the choice.

    The URL contains the options as shown, so they are the API's names in any language.
    """
    if st.session_state.get(key) not in options:
        st.session_state.pop(key, None)
    return st.selectbox(
        title,
        options,
        key=key,
        bind="query-params",
        label_visibility="collapsed" if hidden else "visible",
        width=165,
    )
