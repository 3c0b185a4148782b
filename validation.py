"""Types and messages for files that pydantic validates.

A dataclass X is validated from parsed JSON or TOML: `TypeAdapter(X).validate_python(facts)`.
Numbers and booleans are strict: "3" is not 3.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, InstanceOf, TypeAdapter, ValidationError

LARGEST = 1e100  # absolute value of a number; arithmetic overflows not far above
MAX_SENTENCE = 200  # characters of a message, which may quote the file

KNOWN_KEYS = ConfigDict(extra="forbid")
"""`__pydantic_config__` of a dataclass for which unknown keys are errors."""

Text = InstanceOf[str]
"""Any string, even with lone surrogates, as in paths that are not UTF-8."""

Count = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[int, Field(strict=True, ge=1)]
Number = Annotated[float, Field(strict=True, ge=-LARGEST, le=LARGEST)]
"""A finite number, small enough to calculate with."""

Boolean = Annotated[bool, Field(strict=True)]


def OneOf(known: Collection[str]) -> Any:
    """Validator of a string that must be one of the known names."""

    def check(name: str) -> str:
        if name not in known:
            raise ValueError(f"{name!r} is unknown; known are {', '.join(known)}")
        return name

    return AfterValidator(check)


def HasEntries(kind: type) -> AfterValidator:
    """Validator of a mapping that must have the entries of a `TypedDict`, and may have others."""
    entries: TypeAdapter[Any] = TypeAdapter(kind)

    def check(facts: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            entries.validate_python(facts)
        except ValidationError as error:
            raise ValueError(sentence(error)) from None
        return facts

    return AfterValidator(check)


def sentence(error: ValidationError) -> str:
    """The first error as a sentence with its key."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    key = ".".join(str(part) for part in first["loc"])[:MAX_SENTENCE]
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"unknown key {key}"
    if first["type"] == "missing":
        return f"{key} is missing"
    message = first["msg"].replace(" after validation", "").removeprefix("Value error, ")
    for subject in ("Input should", "Value should"):
        if message.startswith(subject):
            message = f"must{message.removeprefix(subject)}"
            return f"{key} {message}" if key else f"it {message}"
    return (f"{key}: {message}" if key else message)[:MAX_SENTENCE]
