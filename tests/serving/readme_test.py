"""What the READMEs on serving tell to type: Python that compiles and finds its imports, and flags that there are."""

import ast
import importlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FENCED = re.compile(r"^(?: *|\d\. )```\w*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
READMES = ("serving/README.md", "mim_tf/representation/README.md")


class Command(NamedTuple):
    """`python -m MODULE [SUBCOMMAND] FLAGS`."""

    readme: str
    module: str
    subcommand: str
    flags: tuple[str, ...]


def text_of(readme: str) -> str:
    return (ROOT / readme).read_text(encoding="utf-8")


def python_blocks() -> list[tuple[str, str]]:
    """README and source, of fenced blocks and of `python -c`."""
    pattern = r"^```python\n(.*?)^```|python -c '([^']*)'"
    return [
        (readme, block or inline)
        for readme in READMES
        for block, inline in re.findall(pattern, text_of(readme), re.MULTILINE | re.DOTALL)
    ]


def commands() -> list[Command]:
    """Of fenced blocks, where a line may go on behind a backslash, and of what stands between backticks."""
    found = []
    for readme in READMES:
        blocks = [block.replace("\\\n", " ") for block in FENCED.findall(text_of(readme))]
        lines = [line.strip().partition(" #")[0] for block in blocks for line in block.splitlines()]
        spans = re.findall(r"`([^`]*)`", FENCED.sub("", text_of(readme)))
        for line in [*lines, *spans]:
            for module, rest in re.findall(r"^(?:python -m )?(mim_tf(?:\.\w+)+)\s+(.*)", line, re.DOTALL):
                word = re.match(r"[a-z]+(?=\s)", rest)
                flags = re.findall(r"(?<![\w'=-])--[a-z][a-z-]*", rest)
                found.append(Command(readme, module, word[0] if word else "", tuple(flags)))
    return found


@cache
def known_flags(module: str, subcommand: str) -> frozenset[str]:
    """What the command's own help lists."""
    command = [sys.executable, "-m", module, *([subcommand] if subcommand else []), "--help"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert told.returncode == 0, told.stderr
    return frozenset(re.findall(r"(?<![\w-])--[a-z][a-z-]*", told.stdout))


def test_there_is_something_to_check() -> None:
    assert {readme for readme, _ in python_blocks()} == set(READMES)
    assert {("mim_tf.export", "inspect"), ("mim_tf.serving.load", ""), ("mim_tf.realtime", "")} <= {
        (one.module, one.subcommand) for one in commands()
    }
    assert any("--shards" in one.flags for one in commands() if one.readme == READMES[1])


@pytest.mark.parametrize(("readme", "source"), python_blocks())
def test_python_compiles_and_what_it_imports_is_there(readme: str, source: str) -> None:
    for node in ast.walk(ast.parse(source, readme)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names), node.module
        elif isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)


@pytest.mark.parametrize("command", commands(), ids=lambda one: f"{one.module} {one.subcommand} {len(one.flags)}")
def test_commands_know_their_flags(command: Command) -> None:
    assert set(command.flags) <= known_flags(command.module, command.subcommand)


@pytest.mark.parametrize("readme", READMES)
def test_nothing_is_left_to_be_filled_in(readme: str) -> None:
    assert not re.findall(r"@[A-Z_]+@", text_of(readme))
