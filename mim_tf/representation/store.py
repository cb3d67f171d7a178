"""The table's durable, versioned truth: a Lance dataset with one record per row."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa

from mim_tf.errors import StageError
from mim_tf.representation.slots import MOST_SLOTS
from mim_tf.representation.store_commit import commit_records, retried
from mim_tf.representation.store_records import (
    ID_TYPES,
    IN_USE,
    Upsert,
    changed_records,
    identity_in,
    matrix,
    new_store_schema,
    newest_change,
    one_of,
    places_of,
    record_schema,
    slots_in,
)
from mim_tf.representation.stored_embeddings import Labels, StoredEmbeddings

_SMALL_FILE = 65_536  # records; smaller ones are put together while others write


class EmbeddingStore:
    """Embeddings of one encoder, written in transactions; every commit is a version.

    Any number of processes may write at once, wherever they run: a commit that another one forestalled is made anew
    from the newest version. What a killed writer had not committed is part of no version.

    Rows: the store assigns every item its row, in the slot that the item's hash chooses (`slots.py`), so that a table
    can be cut into any number of shards up to that of the slots. A new item gets a free row; an item whose embedding
    changes gets another free row, and its old one is let go. A row let go in version `v` is free once no version before
    `v` can be read any more, that is, after `compact` has removed them (and one change later, if others stay): until
    then a reader of such a version may need it. What holds a removed version is refused its `changes`, and reads the
    whole store. Of a slot's free rows the lowest is taken first, and after them new rows at its end, in the order of
    the items given.

    Columns: see `record_schema`.

    Args:
        path: of an existing store: a folder, or a URI such as `s3://bucket/store.lance`. Lance takes an object store's
            credentials and endpoint from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT` and so on).

    Raises:
        StageError: there is no store at `path`.
    """

    def __init__(self, path: str | Path):
        self.path = str(path)
        try:
            dataset = lance.dataset(self.path)
        except (ValueError, OSError) as error:
            raise StageError(f"{self.path} is no embedding store that can be opened: {error}") from error
        columns = record_schema("int64", 1).names
        if dataset.schema.names != columns:
            raise StageError(
                f"{self.path} is no embedding store: it must have the columns {', '.join(columns)}. "
                f"Received: {', '.join(dataset.schema.names)}."
            )
        self._schema, self._session = dataset.schema, dataset.session()

    @classmethod
    def create(cls, path: str | Path, *, id_type: str, dim: int, slots: int = 64) -> EmbeddingStore:
        """An empty store.

        Args:
            path: a folder that is empty or does not exist yet, or a URI.
            id_type: `int64` or `string`.
            dim: dimension of the embeddings.
            slots: into how many shards a table of it can be cut at most. Slots fill by chance: of n items each, about
                2.5 / sqrt(n) of the rows stay free, for later items.

        Raises:
            ValueError: an unknown `id_type`, or slots out of 1 .. 65,536.
            StageError: there is a store.
        """
        if id_type not in ID_TYPES:
            raise ValueError(f"`id_type` must be one of {', '.join(sorted(ID_TYPES))}. Received: {id_type!r}.")
        if not 1 <= slots <= MOST_SLOTS:
            raise ValueError(f"`slots` must be 1 to {MOST_SLOTS}. Received: {slots}.")
        try:
            lance.write_dataset(new_store_schema(id_type, dim, slots).empty_table(), str(path), mode="create")
        except OSError as error:
            raise StageError(f"{path} cannot be made an embedding store: {error}") from error
        return cls(path)

    def __len__(self) -> int:
        return int(self._open().count_rows(IN_USE))

    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""
        return int(self._schema.field("embedding").type.list_size)

    @property
    def id_type(self) -> str:
        """`int64` or `string`."""
        return str(self._schema.field("item_id").type)

    @property
    def slots(self) -> int:
        """How many slots items are dealt to."""
        return slots_in(self._schema)

    @property
    def identity(self) -> str:
        """A name that no other store has: version numbers of different stores say nothing of each other."""
        return identity_in(self._schema)

    @property
    def version(self) -> int:
        """The newest version's number."""
        return int(self._open().version)

    @property
    def versions(self) -> list[int]:
        """The numbers of all versions that can be read, ascending."""
        return _versions(self._open())

    @property
    def encoder(self) -> str | None:
        """Fingerprint of the encoder of all rows; None while there are none."""
        return _encoder(self._open())

    def upsert(
        self,
        item_ids: np.ndarray,
        embeddings: np.ndarray,
        *,
        encoder: str,
        contents: np.ndarray | None = None,
        event_times: np.ndarray | None = None,
    ) -> int:
        """Commit new items, and other embeddings of known ones, as one version.

        An item given with the bits it has is no change and keeps its row; where its digest or time differs, that is
        replaced. An item given with an earlier time than the stored one is left as it is: what arrives late does not
        undo what is newer. If nothing differs, nothing is committed.

        Args:
            item_ids: `[items]`; of an item given twice the one with the latest time counts, or the last.
            embeddings: `[items, dim]`, kept as float16.
            encoder: fingerprint of the encoder that made them.
            contents: `[items]` str or None, digests of what they were made from. Not given: not known.
            event_times: `[items]` datetime64 UTC or NaT, when the shop said so. Not given: not known, and later than
                all that was.

        Returns:
            A version that holds them: the one committed, or the newest if nothing differs.

        Raises:
            ValueError: shapes that do not fit, a missing id, a value that is not finite in float16, or another encoder
                than the store's.
            StageError: other writers were faster each time.
        """
        change = Upsert.checked(self._schema, item_ids, embeddings, encoder, contents, event_times)

        def attempt(base: lance.LanceDataset) -> int:
            if _encoder(base) not in (None, encoder):
                raise ValueError(f"`encoder` must be {_encoder(base)}, the one of all rows. Received: {encoder}.")
            records = changed_records(base, _versions(base)[0], change)
            return commit_records(base, records) if len(records) else int(base.version)

        return retried(attempt, self._open)

    def read(self, version: int | None = None) -> StoredEmbeddings:
        """The whole store in memory.

        Args:
            version: as of which; None for the newest.

        Raises:
            StageError: there is no such version, or no longer, or it is empty.
        """
        if version is None:
            return retried(lambda dataset: self._stored(dataset, IN_USE), self._open)
        self._check_version(version, "Read one that is there")
        return self._stored(self._open(version), IN_USE)

    def changes(self, since: int) -> StoredEmbeddings:
        """The items whose embedding is new or changed after version `since`, as the newest version has them.

        Where `since` itself was removed, they are those after the newest version before it: some more than are new.

        Args:
            since: not older than all versions that can be read. Of older ones it is not known any more what their rows
                held.

        Raises:
            StageError: there is no such version, all as old were removed, or the store is empty.
        """

        def changed(dataset: lance.LanceDataset) -> StoredEmbeddings:
            before = [version for version in _versions(dataset) if version <= since]
            self._check_version(before[-1] if before and since <= dataset.version else since, "Read the whole store")
            return self._stored(dataset, f"{IN_USE} AND change > {newest_change(self._open(before[-1]))}")

        return retried(changed, self._open)

    def labels_of(self, item_ids: np.ndarray) -> Labels:
        """What is known of the items beside their embeddings.

        Args:
            item_ids: `[items]`, each once.
        """
        ids = pa.array(item_ids, self._schema.field("item_id").type)
        columns, condition = ["item_id", "content", "event_time"], one_of("item_id", ids, IN_USE)
        known = retried(lambda dataset: dataset.to_table(columns=columns, filter=condition), self._open)
        places = places_of(known["item_id"], ids)
        labels = known.take(pa.array(places, mask=places < 0))
        times = labels["event_time"].cast(pa.timestamp("us")).to_numpy()
        return Labels(labels["content"].to_numpy(), times.astype("datetime64[us]"))

    def embeddings_of(self, item_ids: np.ndarray) -> np.ndarray:
        """The embeddings of some items in the newest version.

        Args:
            item_ids: `[items]`, each once.

        Returns:
            `[items, dim]` float16; zeros for what the store does not have.
        """
        ids = pa.array(item_ids, self._schema.field("item_id").type)
        columns, condition = ["item_id", "embedding"], one_of("item_id", ids, IN_USE)
        known = retried(lambda dataset: dataset.to_table(columns=columns, filter=condition), self._open)
        places = places_of(known["item_id"], ids)
        embeddings = np.zeros((len(ids), self.dim), np.float16)
        embeddings[places >= 0] = matrix(known["embedding"])[places[places >= 0]]
        return embeddings

    @property
    def tags(self) -> dict[str, int]:
        """Versions by the names that keep them, in the order of versions."""
        tags = {name: int(tag["version"]) for name, tag in self._open().tags.list().items()}
        return dict(sorted(tags.items(), key=lambda tag: tag[1]))

    def tag(self, name: str, version: int) -> None:
        """Name a version, so that `compact` keeps it: what was made from it can always ask for the changes since.

        A name that is there is moved. Rows let go after a version that is kept stay unused, so tags are to be
        taken away when nobody needs them.

        Args:
            name: letters, digits, `.`, `-` and `_`.
            version: that can be read.

        Raises:
            StageError: there is no such version, or no longer.
            ValueError: a name that cannot be one.
        """
        self._check_version(version, "Tag one that is there")
        tags = self._open().tags
        try:
            (tags.update if name in tags.list() else tags.create)(name, version)
        except (ValueError, OSError) as error:
            raise ValueError(f"`name` must be letters, digits, '.', '-' and '_'. Received: {name!r}.") from error

    def untag(self, name: str) -> None:
        """Take a tag away.

        Raises:
            StageError: there is no such tag.
        """
        if name not in self.tags:
            there = ", ".join(self.tags) or "none"
            raise StageError(f"{self.path} has no tag {name!r}. There are: {there}.")
        self._open().tags.delete(name)

    def compact(
        self, *, keep_versions: int | None = None, older_than: timedelta | None = None, small_files_only: bool = False
    ) -> int:
        """Put small files together, and remove old versions and what only they hold. Tagged versions stay.

        Others may read and write meanwhile. What a killed writer left is removed when it is a week old: until then it
        might be an unfinished commit.

        Args:
            keep_versions: how many versions stay, the newest ones; at least 1.
            older_than: age from which versions are removed; the newest stays.
            small_files_only: leaves large files alone, with the records in them that were replaced. Takes a moment,
                where all takes as long as writing the store anew and begins again with every commit meanwhile.

        Returns:
            Bytes freed.

        Raises:
            ValueError: not exactly one rule is given, or it is not positive.
            StageError: other writers were faster each time.
        """
        if (keep_versions is None) == (older_than is None):
            raise ValueError(
                f"Either `keep_versions` or `older_than` must be given. Received: {keep_versions} and {older_than}."
            )
        if keep_versions is not None and keep_versions < 1:
            raise ValueError(f"`keep_versions` must be at least 1. Received: {keep_versions}.")
        if older_than is not None and older_than <= timedelta(0):
            raise ValueError(f"`older_than` must be positive. Received: {older_than}.")
        rows, rewrite = (_SMALL_FILE, False) if small_files_only else (2**20, True)  # Lance's own

        def compacted(dataset: lance.LanceDataset) -> None:
            dataset.optimize.compact_files(target_rows_per_fragment=rows, materialize_deletions=rewrite)

        try:
            retried(compacted, self._open, attempts=5)  # what a lost attempt wrote stays on the disk for days
        finally:
            removed = self._open().cleanup_old_versions(older_than, keep_versions, error_if_tagged_old_versions=False)
        return int(removed.bytes_removed)

    def _open(self, version: int | None = None) -> lance.LanceDataset:
        try:
            return lance.dataset(self.path, version=version, session=self._session)
        except (ValueError, OSError):
            if version is not None:  # it may have been removed since it was looked for
                self._check_version(version, "Read the whole store")
            raise

    def _stored(self, dataset: lance.LanceDataset, condition: str) -> StoredEmbeddings:
        encoder = _encoder(dataset)
        if encoder is None:
            raise StageError(f"{self.path} holds no embeddings in version {dataset.version}.")
        table = dataset.to_table(columns=["item_id", "row", "embedding"], filter=condition)
        rows = table["row"].to_numpy()
        order = np.argsort(rows, kind="stable")  # timsort: fast where they are in order, as after a bulk filling
        return StoredEmbeddings(
            item_ids=table["item_id"].to_numpy()[order],
            rows=rows[order],
            embeddings=matrix(table["embedding"])[order],
            encoder=encoder,
            version=int(dataset.version),
            store=self.identity,
            slots=self.slots,
        )

    def _check_version(self, version: int, remedy: str) -> None:
        versions = self.versions
        if version not in versions:
            what = "was removed by `compact`" if 0 < version < versions[-1] else "does not exist"
            raise StageError(
                f"Version {version} of {self.path} {what}. {remedy}: there are {len(versions)} from "
                f"{versions[0]} to {versions[-1]}."
            )


def _versions(dataset: lance.LanceDataset) -> list[int]:
    return sorted(reference["version"] for reference in dataset.version_refs())


def _encoder(dataset: lance.LanceDataset) -> str | None:
    first = dataset.to_table(columns=["encoder"], filter=IN_USE, limit=1)
    return first["encoder"][0].as_py() if len(first) else None
