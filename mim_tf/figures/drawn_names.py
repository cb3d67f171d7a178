"""Names of groups as figures can hold them."""

from __future__ import annotations

from collections.abc import Sequence

_LONGEST = 32


def drawn_names(names: Sequence[str], longest: int = _LONGEST) -> list[str]:
    """Names as a figure can hold them: short, each another one, without what matplotlib or XML take for more than text.

    Args:
        names: of groups, any text.
        longest: letters of a name.
    """
    found: list[str] = []
    for name in names:
        plain = "".join(letter if letter.isprintable() else " " for letter in name).replace("$", r"\$")
        short = plain if len(plain) <= longest else f"{plain[:longest].rstrip()}…"
        found.append(short if short not in found else f"{short} {len(found) + 1}")
    return found
