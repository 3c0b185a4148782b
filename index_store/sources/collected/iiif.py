"""IIIF Presentation 2 and 3, the format in which museums and libraries publish their images.

https://iiif.io/api/presentation/3.0/, https://iiif.io/api/presentation/2.1/ and, for URLs of images
at the required size, https://iiif.io/api/image/3.0/.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

from extractor import WORKING_SIDE

from ...about import MAX_CELL, MAX_CREDIT, MAX_LINK, Credit, web_address
from .listed import Item, name_for

LANGUAGES = ("en", "none", "@none")
TAGS = re.compile(r"<[^<>]{0,1000}>")
MAX_MARKED = 20 * MAX_CREDIT  # characters of a text including tags; a longer one is truncated
MAX_METADATA = 12  # maximum metadata entries per manifest

Node = dict[str, Any]


def documents(node: Node) -> list[str]:
    """URLs of the manifests and collections in a collection, of both versions."""
    found = []
    for key in ("items", "manifests", "collections", "members"):
        for child in nodes(node.get(key)):
            if kind(child) in ("Manifest", "Collection") and (url := url_of(child)):
                found.append(url)
    return found


def items_of(manifest: Node) -> Iterator[Item]:
    """The photos of a manifest, one or more per canvas."""
    whole = described(manifest)
    if isinstance(manifest.get("items"), list):
        canvases = nodes(manifest["items"])
    else:
        canvases = [c for s in nodes(manifest.get("sequences")) for c in nodes(s.get("canvases"))]
    for canvas in canvases:
        for body in bodies(canvas):
            if urls := image_urls(body):
                yield Item(name_for(urls[-1], whole.title), credited(whole, canvas), urls=urls)


def credited(whole: Credit, canvas: Node) -> Credit:
    """A canvas's description, completed by that of its manifest."""
    description = described(canvas)
    title = " · ".join(dict.fromkeys(filter(None, (whole.title, description.title))))[:MAX_CELL]
    more = {**whole.more, **description.more}
    if (url := url_of(canvas)) and len(url) <= MAX_CREDIT:
        more["Canvas"] = url
    return Credit(
        title,
        description.credit or whole.credit,
        description.licence or whole.licence,
        description.link or whole.link,
        more,
    )


def described(node: Node) -> Credit:
    """The description of a manifest or canvas."""
    statement = next(iter(nodes(node.get("requiredStatement"))), {})
    credit = text_of(statement.get("value")) or text_of(node.get("attribution"))
    licence = text_of(node.get("rights")) or text_of(node.get("license"))
    pages = [*nodes(node.get("homepage")), *nodes(node.get("related"))]
    pages += [{"id": page} for page in [node.get("related")] if isinstance(page, str)]
    link = next(filter(None, map(url_of, pages)), "")
    more = {}
    for entry in nodes(node.get("metadata"))[:MAX_METADATA]:
        label, value = text_of(entry.get("label")), text_of(entry.get("value"))
        if label and value:
            more[label[:MAX_CELL].strip()] = value
    if not link and kind(node) == "Manifest":
        link = url_of(node)
    return Credit(text_of(node.get("label"))[:MAX_CELL], credit, licence, link, more)


def bodies(canvas: Node) -> Iterator[Node]:
    """The images of a canvas (painting annotations)."""
    for page in nodes(canvas.get("items")):
        for annotation in nodes(page.get("items")):
            if annotation.get("motivation", "painting") == "painting":
                yield from map(chosen, nodes(annotation.get("body")))
    for annotation in nodes(canvas.get("images")):
        yield from map(chosen, nodes(annotation.get("resource")))


def chosen(body: Node) -> Node:
    """The image itself, or the first of a choice."""
    if kind(body) in ("Choice", "choice"):
        return next(iter([*nodes(body.get("default")), *nodes(body.get("items"))]), {})
    return body


def image_urls(body: Node) -> tuple[str, ...]:
    """URLs of an image, first that of a smaller version if its server can make one."""
    if kind(body) not in ("Image", ""):
        return ()
    whole = url_of(body)
    found = [whole] if whole else []
    for service in nodes(body.get("service")):
        service_url, profile = url_of(service).rstrip("/"), str(service.get("profile", ""))
        if not service_url or "level0" in profile:
            continue
        sides = [body.get("width"), body.get("height")]
        sizes = [side for side in sides if type(side) is int and side > 0]
        third = kind(service) == "ImageService3"
        largest = max(sizes) if len(sizes) == 2 else WORKING_SIDE + 1
        size = f"!{WORKING_SIDE},{WORKING_SIDE}"
        if largest <= WORKING_SIDE:
            size = "max" if third else "full"
        found.insert(0, f"{service_url}/full/{size}/0/default.jpg")
        break
    return tuple(dict.fromkeys(found))


def nodes(value: object) -> list[Node]:
    """The objects in a list, or the single object in its place."""
    values = value if isinstance(value, list) else [value]
    return [node for node in values if isinstance(node, dict)]


def kind(node: Node) -> str:
    """The type of a node without its namespace: "sc:Manifest" is "Manifest"."""
    return str(node.get("type") or node.get("@type") or "").rpartition(":")[2]


def url_of(node: Node) -> str:
    """The web address that identifies a node, or ""."""
    url = node.get("id") or node.get("@id")
    try:
        if isinstance(url, str) and len(url) <= MAX_LINK:
            return web_address(url)
    except ValueError:
        pass
    return ""


def text_of(value: object) -> str:
    """The text of a label or value, in English if available, as one line without markup."""
    if isinstance(value, dict):
        if "@value" in value:
            return text_of(value["@value"])
        chosen = next((value[name] for name in LANGUAGES if name in value), None)
        return text_of(chosen if chosen is not None else next(iter(value.values()), ""))
    if isinstance(value, list):
        english = [v for v in value if isinstance(v, dict) and v.get("@language") == "en"]
        parts = filter(None, (text_of(part) for part in (english or value)[:20]))
        return ", ".join(parts)[:MAX_CREDIT].strip()
    if not isinstance(value, str | int | float):
        return ""
    words = html.unescape(TAGS.sub(" ", str(value)[:MAX_MARKED]))
    chosen = "".join(c for c in words if c.isprintable() or c.isspace())
    return " ".join(chosen.split())[:MAX_CREDIT].strip()
