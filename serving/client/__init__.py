"""The client library: one server's models, and rankings wherever their table lies."""

from mim_tf.serving.client.async_client import AsyncClient
from mim_tf.serving.client.async_ranker_client import AsyncRankerClient
from mim_tf.serving.client.client import Client
from mim_tf.serving.client.history_batches import batch_histories
from mim_tf.serving.client.open_ranker import open_async_ranker, open_ranker
from mim_tf.serving.client.ranker_client import RankerClient
from mim_tf.serving.client.ranking import ItemEmbeddings, Ranking
from mim_tf.serving.client.tls import Tls

__all__ = [
    "AsyncClient",
    "AsyncRankerClient",
    "Client",
    "ItemEmbeddings",
    "RankerClient",
    "Ranking",
    "Tls",
    "batch_histories",
    "open_async_ranker",
    "open_ranker",
]
