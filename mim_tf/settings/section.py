"""What all settings have in common: sections that never change, and what is wrong with them in our words."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings that refuses unknown keys and never changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def problem_of(entry: Any, root: type[Section]) -> str:
    """One of pydantic's errors in our words, with the known keys where one is unknown.

    Args:
        entry: of `ValidationError.errors()`.
        root: the section that was checked.
    """
    path = [str(part) for part in entry["loc"]]
    if path[:2] == ["rank", "features"]:
        del path[3:4]  # pydantic puts the kind of feature there
    name = ".".join(path)
    if entry["type"] == "extra_forbidden":
        known = ", ".join(sorted(_section_at(root, [str(part) for part in entry["loc"][:-1]]).model_fields))
        return f"`{name}` is not a setting. Known here: {known}."
    if entry["type"] == "missing":
        return f"`{name}` must be set."
    if entry["type"] == "union_tag_not_found":
        return f"`{name}.kind` must be set."
    if isinstance(entry["input"], dict):  # a rule between settings names them itself
        rule = entry["msg"].removeprefix("Value error, ")
        return f"`{name}`: {rule}." if name else f"{rule}."
    return f"`{name}`: {entry['msg']}. Received: {entry['input']!r}."


def _section_at(root: type[Section], path: list[str]) -> type[Section]:
    """The section at a path of pydantic's, in which keys of a mapping and kinds of a union are parts too."""
    sections = [root]
    for name in path:
        of_field = [section for section in sections if name in section.model_fields]
        if of_field:
            sections = _sections_in(of_field[0].model_fields[name].annotation)
        else:
            sections = [section for section in sections if name in _kinds_of(section)] or sections
    return sections[0]


def _sections_in(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _sections_in(argument)]


def _kinds_of(section: type[Section]) -> tuple[Any, ...]:
    return get_args(section.model_fields["kind"].annotation) if "kind" in section.model_fields else ()
