"""The arguments of `python -m mim_tf.representation`."""

from __future__ import annotations

import argparse

from mim_tf.commandline import command_parser

_EPILOG = """\
STORE is a folder, such as W/represent/store.lance of a run, or a URI such as s3://bucket/store.lance (credentials
come from the environment). Only compact changes it. COMMAND --help tells what the figures mean.

examples:
  python -m mim_tf.representation inspect W/represent/store.lance --shards 4
  python -m mim_tf.representation diff W/represent/store.lance --since 2
  python -m mim_tf.representation compact W/represent/store.lance --older-than 7d
  python -m mim_tf.representation neighbours W/represent/store.lance --item 1042 --titles items.parquet
"""
_INSPECT = """\
  rows let go       had items whose embeddings changed: these got other rows. New items get the free ones; the rest is
                    needed by older versions, until compact removes them.
  end of the table  a table made of the store has so many rows, and spare ones. Slots fill unevenly: some are empty.
  on disk           all files; those that the newest version alone does not need serve older ones.
  cosine of two random items
                    near 1 throughout: the encoder tells items apart no more (it has collapsed)
  1 - cosine that int8 costs
                    between an embedding and what a table with int8 rows gives back for it

The last two are of at most 100,000 random pairs and rows, the same ones in each call.

example:
  python -m mim_tf.representation inspect W/represent/store.lance --shards 4
"""
_DIFF = """\
An item is changed if its embedding is another one. One that changed and changed back is not.

example:
  python -m mim_tf.representation diff W/represent/store.lance --since 2 --to 5
"""
_COMPACT = """\
Puts small files together and removes old versions with all that only they needed; tagged versions stay. Rows that
were let go become free. Who follows the store and has a version older than all that stay must read the whole store.
What is put together is written anew: as long as an old version stays, so does what it was before.

example:
  python -m mim_tf.representation compact W/represent/store.lance --older-than 7d --untag ranker-1
"""
_NEIGHBOURS = """\
Compares the item with all others by the cosine of their embeddings. The store is read from front to back.

example:
  python -m mim_tf.representation neighbours W/represent/store.lance --item 1042 --titles items.parquet
"""


def representation_parser() -> argparse.ArgumentParser:
    """The parser of all commands; `command` of its result is the chosen one."""
    parser = command_parser("representation", "Look into an embedding store, and keep it small.", _EPILOG)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_inspect(_added(commands, "inspect", "what is in a store: items, rows, versions, files, embeddings", _INSPECT))
    _add_diff(_added(commands, "diff", "which items are new or changed between two versions", _DIFF))
    _add_compact(_added(commands, "compact", "free the space that old versions take", _COMPACT))
    _add_neighbours(_added(commands, "neighbours", "the items nearest to one", _NEIGHBOURS))
    return parser


def _added(commands: argparse._SubParsersAction, name: str, purpose: str, epilog: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("store", metavar="STORE", help="folder or URI of the store")
    return parser


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shards", type=int, metavar="P", help="also how many items each of P shards of a table has")
    _add_json(parser)


def _add_diff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", type=int, required=True, metavar="V", help="the earlier version")
    parser.add_argument("--to", type=int, metavar="W", help="the later version (the newest)")
    parser.add_argument(
        "--show", type=int, default=10, metavar="N", help="name so many items of each kind (%(default)s)"
    )
    _add_json(parser)


def _add_compact(parser: argparse.ArgumentParser) -> None:
    rule = parser.add_mutually_exclusive_group(required=True)
    rule.add_argument("--keep", type=int, metavar="N", help="keep the newest N versions")
    rule.add_argument(
        "--older-than",
        metavar="AGE",
        help="remove versions from this age on, but never the newest: a number and d, h or m "
        "(days, hours, minutes), as in 7d, 12h or 90m",
    )
    parser.add_argument(
        "--untag",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME",
        help="first take these tags away, so that their versions can go",
    )


def _add_neighbours(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--item", required=True, metavar="ID", help="whose neighbours are sought")
    parser.add_argument("--count", type=int, default=10, metavar="N", help="how many neighbours (%(default)s)")
    parser.add_argument(
        "--titles",
        metavar="FILE",
        help="catalogue to show titles from: file, folder or glob of Parquet, CSV or JSON lines with item_id and title",
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object, for scripts")
