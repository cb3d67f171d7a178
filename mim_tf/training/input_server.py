"""One input for all workers of parameter servers: the chief reads, and a worker that is ready takes the next batch."""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import tensorflow as tf

_service = tf.data.experimental.service
_JOBS = itertools.count()
_UNUSED_MS, _CHECK_MS = 60_000, 10_000  # of a job whose processes have all let go of it, until its buffers go too


class InputServer:
    """Serves the batches of a dataset, which this process reads, to other processes: each batch to one of them.

    Workers of parameter servers go at their own pace, so no share of the files that is dealt out beforehand would be
    read to its end when the others are. A batch or two are on their way to each worker: at the end of an epoch these
    are trained in the next one, and at the end of a training they may be missed.

    It serves for as long as the process lives, at ports that the system chooses. When a worker that was lost in a
    training comes back after its end, TensorFlow first makes anew what its unfinished step was to read, which is that
    training's dataset. If nobody served it, the worker would ask for ever, and do nothing in the trainings to come.
    So all trainings of a process have the same servers, however many came since. Of a dataset that all have let go of
    for a minute these keep the graph alone, and who comes then begins it anew. Ten in turn that each shuffled 100,000
    rows of 50 int32 left 741 MB when nothing was let go; nine left 247 MB when it was, no more than the first five.

    Args:
        dataset: endless.
        host: name or address of this machine, as the others know it.
    """

    def __init__(self, dataset: tf.data.Dataset, host: str):
        self._address = _servers(host).address
        self._job = f"batches {next(_JOBS)}"
        self._element_spec = dataset.element_spec
        self._dataset = _service.register_dataset(self._address, dataset, compression=None)

    def batches(self) -> tf.data.Dataset:
        """What the process that iterates over it gets, for ever."""
        batches = _service.from_dataset_id(
            _service.ShardingPolicy.OFF,
            self._address,
            self._dataset,
            element_spec=self._element_spec,
            job_name=self._job,  # of one job, or each process would get all of them
            max_outstanding_requests=1,
        )
        return batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))


class _Servers(NamedTuple):
    dispatcher: tf.data.experimental.service.DispatchServer
    reader: tf.data.experimental.service.WorkerServer
    address: str


@functools.cache
def _servers(host: str) -> _Servers:
    """Those of this process: they end with it."""
    config = _service.DispatcherConfig(job_gc_check_interval_ms=_CHECK_MS, job_gc_timeout_ms=_UNUSED_MS)
    dispatcher = _service.DispatchServer(config)
    address = f"{host}:{dispatcher.target.rpartition(':')[2]}"
    reader = _service.WorkerConfig(dispatcher_address=address, worker_address=f"{host}:%port%")
    return _Servers(dispatcher, _service.WorkerServer(reader), address)
