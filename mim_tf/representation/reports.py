"""What is found in stores, as text for people."""

from __future__ import annotations

from collections.abc import Sequence

from mim_tf.representation.compaction import Compaction
from mim_tf.representation.difference import Difference
from mim_tf.representation.inspection import Inspection
from mim_tf.representation.neighbours import Neighbour
from mim_tf.representation.unused_rows import UnusedRows

_COLUMNS = {"mean": "mean", "min": "min", "p01": "1%", "median": "median", "p99": "99%", "max": "max"}
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def inspection_text(found: Inspection) -> str:
    """A fact per line, and a table of how the numbers of the embeddings are distributed."""
    empty, end = found.table_end - found.items, found.table_end
    about = {
        "store": found.store,
        "identity": found.identity,
        "encoder": found.encoder or "none yet",
        "items": f"{found.items:,}",
        "dimension": f"{found.dim:,}",
        "id type": found.id_type,
        "slots": f"{found.slots:,}",
    }
    rows = {
        "rows in use": f"{found.items:,}",
        "rows let go": unused_text(UnusedRows(found.rows_let_go, found.rows_free)),
        "end of the table": f"{end:,} rows" + (f", {empty:,} of them empty ({empty / end:.1%})" if empty else ""),
    }
    if found.shard_items:
        least, mean, most = (found.shard_items[name] for name in ("min", "mean", "max"))
        rows[f"items in {found.shards} shards"] = f"{least:,} to {most:,} each, {mean:,.1f} on average"
    history = {
        "versions": f"{found.versions:,}",
        "first": f"{found.first_version} of {time_text(found.first_time)}",
        "newest": f"{found.newest_version} of {time_text(found.newest_time)}",
        "tags": _tags_text(found.tags),
        "on disk": f"{size_text(found.stored_bytes)} in {found.files:,} files",
        "newest alone": f"{size_text(found.newest_bytes)} in {found.fragments:,} fragments",
    }
    numbers = {
        "length": _cells(found.lengths, "#.4g"),
        "cosine of two random items": _cells(found.pair_cosines, "z.4f"),
        "1 - cosine that int8 costs": _cells(found.int8_costs, ".1e"),
    }
    width = max(map(len, [*about, *rows, *history]))
    return "\n\n".join([*(aligned(lines, width) for lines in (about, rows, history)), _distributions(numbers)]).rstrip()


def difference_text(found: Difference) -> str:
    """Counts, how far the changed items turned, and examples."""
    counts = {
        "store": found.store,
        "since": f"version {found.since_version} of {time_text(found.since_time)}: {found.since_items:,} items",
        "to": f"version {found.to_version} of {time_text(found.to_time)}: {found.to_items:,} items",
        "new": f"{found.new:,}",
        "changed": f"{found.changed:,}"
        + (f", {found.changed / found.since_items:.2%} of those there were" if found.changed else ""),
    }
    parts = [aligned(counts), _distributions({"cosine of old and new": _cells(found.changed_cosines, "z.4f")})]
    if found.new_items:
        parts.append("\n".join(["new items", *(f"  {item_id}" for item_id in found.new_items)]))
    if found.changed_items:
        turned = [f"  {item['cosine']:z7.4f}  {item['item_id']}" for item in found.changed_items]
        parts.append("\n".join(["changed items that turned furthest: cosine, item", *turned]))
    return "\n\n".join(part for part in parts if part)


def compaction_text(done: Compaction) -> str:
    """What was freed, and what there is now."""
    versions, oldest, newest = done.versions, done.versions[0], done.versions[-1]
    before, now = size_text(done.before_bytes), size_text(done.stored_bytes)
    return aligned(
        {
            **({"untagged": _tags_text(done.untagged)} if done.untagged else {}),
            "freed": size_text(done.freed_bytes),
            "on disk": f"{now} in {done.files:,} files; before, {before}",
            "versions": f"{len(versions):,}, " + (f"{oldest} to {newest}" if len(versions) > 1 else f"{newest}"),
            "tags": _tags_text(done.tags),
            "rows let go": unused_text(done.unused),
        }
    )


def neighbours_text(item_id: int | str, neighbours: Sequence[Neighbour], titles: dict[int | str, str]) -> str:
    """The item and a line per neighbour, with titles where there are some."""
    titles = {identifier: " ".join(title.split()) for identifier, title in titles.items()}  # on one line
    lines = [("cosine", "item", "title" * bool(titles))]
    for identifier, cosine in neighbours:
        lines.append((f"{cosine:z.4f}", str(identifier), titles.get(identifier, "")))
    width = max(len(identifier) for _, identifier, _ in lines)
    rows = [f"{cosine:>7}  {identifier:{width}}  {title}".rstrip() for cosine, identifier, title in lines]
    return "\n".join([f"nearest to {item_id}" + (f": {titles[item_id]}" if item_id in titles else ""), "", *rows])


def aligned(lines: dict[str, str], width: int = 0) -> str:
    """A line per entry, the values below each other.

    Args:
        lines: values by their labels.
        width: of the labels, in characters, if they are not to have that of the longest.
    """
    width = width or max(map(len, lines))
    return "\n".join(f"{label:{width}}  {value}" for label, value in lines.items())


def unused_text(unused: UnusedRows) -> str:
    """How many rows were let go, and whether new items can have them."""
    if not unused.let_go:
        return "none"
    free = f"{unused.free:,} of them free for new items" if unused.free else "none of them free"
    return f"{unused.let_go:,}, {free}" + ("; older versions need the rest" * (unused.free < unused.let_go))


def size_text(size: float) -> str:
    """Bytes in the unit that leaves one to three digits before the point; of 1,000, not 1,024."""
    power = 0
    while size >= 999.95 and power < len(_UNITS) - 1:
        size, power = size / 1000, power + 1
    return f"{size:.1f} {_UNITS[power]}" if power else f"{size:.0f} {_UNITS[0]}"


def time_text(time: str) -> str:
    """A time in ISO 8601 and UTC as people write it."""
    return time.replace("T", " ").replace("+00:00", " UTC")


def _tags_text(tags: dict[str, int]) -> str:
    return ", ".join(f"{name} (version {version})" for name, version in tags.items()) or "none"


def _cells(numbers: dict[str, float] | None, form: str) -> list[str]:
    return [format(numbers[column], form) for column in _COLUMNS] if numbers else []


def _distributions(rows: dict[str, list[str]]) -> str:
    """A table of those rows that have numbers; nothing if none has."""
    rows = {name: cells for name, cells in rows.items() if cells}
    if not rows:
        return ""
    label = max(map(len, rows))
    table = {"": list(_COLUMNS.values()), **rows}
    return "\n".join(f"{name:{label}}" + "".join(f"{cell:>10}" for cell in cells) for name, cells in table.items())
