"""The OpenAPI document of the API, and an HTML page made from it."""

from __future__ import annotations

import html
import warnings
from functools import cache, lru_cache
from typing import Any

from serving.refusal import PROBLEM

from .answer_models import Problem
from .application import ABOUT, TITLE, application
from .endpoints import ROOT

REFERENCE = "#/components/schemas/{model}"


def document(prefix: str = "") -> dict[str, Any]:
    """The OpenAPI 3.1 document. prefix: of the server's URLs, see `base_path.prefix_of`."""
    return described() | {"servers": [{"url": prefix or "/"}]}


@cache
def described() -> dict[str, Any]:
    """The document without servers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # HEAD shares the operation id of its GET
        found = application.openapi()
    for methods in found["paths"].values():
        methods.pop("head", None)  # as everywhere, HEAD is GET without the body
    found["components"]["schemas"]["Problem"] = Problem.model_json_schema(
        mode="serialization", ref_template=REFERENCE
    )
    return found


# -- for people ------------------------------------------------------------------------------------

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; font-size: 1.15rem; } h3 { font-size: 1rem; }
code { font-size: 0.92em; overflow-wrap: anywhere; } b code { color: #0f766e; }
table { border-collapse: collapse; width: 100%; } td { padding: 0.3rem 0.6rem 0.3rem 0;
vertical-align: top; border-top: 1px solid #8884; } td:first-child { white-space: nowrap; }
"""


@lru_cache(4)
def html_page(prefix: str = "") -> str:
    """The documentation as self-contained HTML without scripts. prefix: as for `document`."""
    parts = [f"<h1>{html.escape(TITLE)}</h1><p>{html.escape(ABOUT)}</p>"]
    link = html.escape(f"{prefix}{ROOT}/openapi.json")
    parts.append(f'<p>As OpenAPI: <a href="{link}">openapi.json</a></p>')
    schemas = document()["components"]["schemas"]
    for path, methods in document()["paths"].items():
        for method, described in methods.items():
            url = html.escape(prefix + path)
            parts.append(f"<h2><b><code>{method.upper()} {url}</code></b></h2>")
            parts.append(f"<p>{html.escape(described['summary'])}</p>")
            parameters = {
                parameter["name"]: parameter for parameter in described.get("parameters", [])
            }
            if parameters:
                parts.append("<h3>Parameters</h3>" + rows(parameters, schemas))
            body = described.get("requestBody", {}).get("content", {}).get("multipart/form-data")
            if body:
                parts.append("<h3>Fields</h3>" + table(body["schema"], schemas))
            for status, answer in described["responses"].items():
                description = html.escape(answer["description"])
                schema = answer.get("content", {}).get("application/json", {}).get("schema")
                fields_table = table(schema, schemas) if schema else ""
                parts.append(f"<h3>{status}</h3><p>{description}</p>{fields_table}")
    problem = table({"$ref": REFERENCE.format(model="Problem")}, schemas)
    parts.append(f"<h2>Problems</h2><p>All as <code>{PROBLEM}</code>.</p>{problem}")
    head = f'<meta charset="utf-8"><title>{html.escape(TITLE)}</title><style>{STYLE}</style>'
    width = '<meta name="viewport" content="width=device-width">'
    return f'<!doctype html><html lang="en">{head}{width}<body>{"".join(parts)}</body></html>'


def table(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """HTML of a model's fields, including those of nested models."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return rows(schemas.get(name, {}).get("properties", {}), schemas)


def rows(fields: dict[str, Any], schemas: dict[str, Any]) -> str:
    """HTML table of fields or parameters by name."""
    table_rows = []
    for field, facts in fields.items():
        text = html.escape(facts.get("description", ""))
        inner = facts.get("items", {})
        if schemas.get(inner.get("$ref", "").rpartition("/")[2], {}).get("properties"):
            text += table(inner, schemas)
        kind = html.escape(kind_of(facts.get("schema", facts), schemas))
        table_rows.append(f"<tr><td><code>{field}</code><td>{kind}<td>{text}</tr>")
    return f"<table>{''.join(table_rows)}</table>"


def kind_of(facts: dict[str, Any], schemas: dict[str, Any]) -> str:
    """A short name of a field's type."""
    if "anyOf" in facts:
        return " or ".join(kind_of(option, schemas) for option in facts["anyOf"])
    if "enum" in facts:
        return ", ".join(facts["enum"])
    if "$ref" in facts:
        return facts["$ref"].rpartition("/")[2]
    if facts.get("type") == "array":
        return f"list of {kind_of(facts.get('items', {}), schemas)}"
    return "file" if facts.get("format") == "binary" else facts.get("type", "")
