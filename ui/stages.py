"""What the visitor asks for: which descriptor, which stages, and what to compare it with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import streamlit as st

OFF = "Rerank off"


@dataclass(frozen=True)
class Stages:
    """One way to search.

    Attributes:
        descriptor: name of the model.
        rerank, verify: as `Engine.search` takes them.
        against: what to compare with: OFF, the name of another model, or None for nothing.
    """

    descriptor: str
    rerank: str | None
    verify: str | None
    against: str | None

    @property
    def stages(self) -> str:
        """The stages that are on, for people."""
        names = ["Diffusion" if self.rerank else "", "SIFT" if self.verify else ""]
        return " + ".join(filter(None, names)) or OFF


def choose_stages(descriptors: Collection[str]) -> Stages:
    """Draw the switches. All of them stand in the page's address.

    Args:
        descriptors: names of the models there are, the first one is what the page opens with.
    """
    diffusion = st.toggle(
        "Diffusion",
        value=True,
        key="diffusion",
        bind="query-params",
        help="Walks from photo to photo through the gallery: views unlike yours are reached over "
        "views in between.",
    )
    sift = st.toggle(
        "SIFT verification",
        value=True,
        key="sift",
        bind="query-params",
        help="Matches points of your photo with the best hits; those that fit together prove the "
        "same thing.",
    )
    compare = st.toggle(
        "Compare",
        key="compare",
        bind="query-params",
        help="Two answers side by side, with how far each photo moved.",
    )
    names = list(descriptors)
    descriptor = names[0]
    if len(names) > 1:
        descriptor = choice("Descriptor", names, "descriptor", "What tells photos apart.")
    against = OFF if compare else None
    others = [name for name in names if name != descriptor]
    if compare and others:
        against = choice("Compare with", [OFF, *others], "against", "What stands on the left.")
    rerank, verify = "diffusion" if diffusion else None, "sift" if sift else None
    return Stages(descriptor, rerank, verify, against)


def choice(label: str, options: list[str], key: str, help: str) -> str:
    """A small box with one of the options; the first one unless something else is chosen."""
    if st.session_state.get(key) not in options:
        st.session_state.pop(key, None)
    return st.selectbox(
        label,
        options,
        key=key,
        bind="query-params",
        help=help,
        label_visibility="collapsed",
        width=165,
    )
