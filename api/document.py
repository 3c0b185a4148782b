"""The OpenAPI document, and a page that shows it to people. Both are made of `operations`."""

from __future__ import annotations

import html
import re
from functools import cache, lru_cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from serving.refusal import PROBLEM

from .models import Problem
from .operations import OPERATIONS, ROOT, Operation

VERSION = "1.0.0"
TITLE = "Same Thing: search by photo"
ABOUT = (
    "Search a gallery of photos with a photo, and get the other photos of that very thing first, "
    "with the evidence why. Photos that are sent are decoded, searched with, and forgotten."
)
REFERENCE = "#/components/schemas/{model}"
SAID = {
    400: "The request cannot be read.",
    404: "There is no such photo.",
    413: "Too many bytes or pixels.",
    415: "No photo of a format that is read.",
    422: "Fields are missing, unknown or wrong.",
    429: "Too much for one address; see Retry-After.",
    503: "Busy, or not ready; see Retry-After.",
}


def document(prefix: str = "") -> dict[str, Any]:
    """OpenAPI 3.1. prefix: of the server's addresses, see `base_path.prefix_of`."""
    return described() | {"servers": [{"url": prefix or "/"}]}


@cache
def described() -> dict[str, Any]:
    """The document of a server at no address."""
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Problem, "serialization")]
    for operation in OPERATIONS:
        if operation.form is not None:
            models.append((operation.form, "validation"))
        if not isinstance(operation.answer, str):
            models.append((operation.answer, "serialization"))
    names, schemas = models_json_schema(models, ref_template=REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        methods = paths.setdefault(ROOT + operation.path, {})
        methods[operation.method.lower()] = describe(operation, names)
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": VERSION, "description": ABOUT},
        "paths": paths,
        "components": {"schemas": schemas["$defs"]},
    }


def describe(operation: Operation, names: Any) -> dict[str, Any]:
    """An operation as OpenAPI has it. names: of `models_json_schema`."""
    problem = names[Problem, "serialization"]
    answers: dict[str, Any] = {"200": {"description": "Done."} | content(operation, names)}
    for status in operation.problems:
        answers[str(status)] = {
            "description": SAID[status],
            "content": {PROBLEM: {"schema": problem}},
        }
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": answers,
    }
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "integer", "minimum": 0},
        }
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    if operation.form is not None:
        schema = names[operation.form, "validation"]
        body = {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
        described["requestBody"] = body
    if operation.query is not None:
        parameters += query_parameters(operation.query)
    if parameters:
        described["parameters"] = parameters
    return described


def query_parameters(query: type[BaseModel]) -> list[dict[str, Any]]:
    """The fields of a query string, all optional."""
    parameters = []
    for name, facts in query.model_json_schema()["properties"].items():
        # What is left out is None; the string itself has no null.
        schema = next(one for one in facts.get("anyOf", [facts]) if one["type"] != "null")
        kept = {key: value for key, value in schema.items() if key not in ("title", "description")}
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": facts["description"],
                "schema": kept,
            }
        )
    return parameters


def content(operation: Operation, names: Any) -> dict[str, Any]:
    """What an operation gives back."""
    if isinstance(operation.answer, str):
        schema: Any = {"type": "string", "format": "binary"}
        return {"content": {operation.answer: {"schema": schema}}}
    return {"content": {"application/json": {"schema": names[operation.answer, "serialization"]}}}


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
def page(prefix: str = "") -> str:
    """HTML that needs nothing else: no script, no other file. prefix: as of `document`."""
    parts = [f"<h1>{html.escape(TITLE)}</h1><p>{html.escape(ABOUT)}</p>"]
    link = html.escape(f"{prefix}{ROOT}/openapi.json")
    parts.append(f'<p>As OpenAPI: <a href="{link}">openapi.json</a></p>')
    schemas = document()["components"]["schemas"]
    for path, methods in document()["paths"].items():
        for method, described in methods.items():
            address = html.escape(prefix + path)
            parts.append(f"<h2><b><code>{method.upper()} {address}</code></b></h2>")
            parts.append(f"<p>{html.escape(described['summary'])}</p>")
            named = {one["name"]: one for one in described.get("parameters", [])}
            if named:
                parts.append("<h3>Parameters</h3>" + rows(named, schemas))
            body = described.get("requestBody", {}).get("content", {}).get("multipart/form-data")
            if body:
                parts.append("<h3>Fields</h3>" + table(body["schema"], schemas))
            for status, answer in described["responses"].items():
                said = html.escape(answer["description"])
                schema = answer.get("content", {}).get("application/json", {}).get("schema")
                shown = table(schema, schemas) if schema else ""
                parts.append(f"<h3>{status}</h3><p>{said}</p>{shown}")
    problem = table({"$ref": REFERENCE.format(model="Problem")}, schemas)
    parts.append(f"<h2>Problems</h2><p>All as <code>{PROBLEM}</code>.</p>{problem}")
    head = f'<meta charset="utf-8"><title>{html.escape(TITLE)}</title><style>{STYLE}</style>'
    width = '<meta name="viewport" content="width=device-width">'
    return f'<!doctype html><html lang="en">{head}{width}<body>{"".join(parts)}</body></html>'


def table(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """HTML of a model's fields, those of models in it as well."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return rows(schemas.get(name, {}).get("properties", {}), schemas)


def rows(fields: dict[str, Any], schemas: dict[str, Any]) -> str:
    """HTML of fields or parameters by name."""
    shown = []
    for field, facts in fields.items():
        text = html.escape(facts.get("description", ""))
        inner = facts.get("items", {})
        if schemas.get(inner.get("$ref", "").rpartition("/")[2], {}).get("properties"):
            text += table(inner, schemas)
        kind = html.escape(kind_of(facts.get("schema", facts), schemas))
        shown.append(f"<tr><td><code>{field}</code><td>{kind}<td>{text}</tr>")
    return f"<table>{''.join(shown)}</table>"


def kind_of(facts: dict[str, Any], schemas: dict[str, Any]) -> str:
    """A field's type in few words."""
    if "anyOf" in facts:
        return " or ".join(kind_of(one, schemas) for one in facts["anyOf"])
    if "enum" in facts:
        return ", ".join(facts["enum"])
    if "$ref" in facts:
        return facts["$ref"].rpartition("/")[2]
    if facts.get("type") == "array":
        return f"list of {kind_of(facts.get('items', {}), schemas)}"
    return "file" if facts.get("format") == "binary" else facts.get("type", "")
