"""One input for all workers of parameter servers: the chief reads, and a worker that is ready takes the next batch."""

from __future__ import annotations

import tensorflow as tf

_service = tf.data.experimental.service
_serving: list[InputServer] = []


class InputServer:
    """Serves the batches of a dataset, which this process reads, to other processes: each batch to one of them.

    Workers of parameter servers go at their own pace, so no share of the files that is dealt out beforehand would be
    read to its end when the others are. A batch or two are on their way to each worker: at the end of an epoch these
    are trained in the next one, and at the end of a training they may be missed.

    It serves for as long as the process lives, at ports that the system chooses. When a worker that was lost in a
    training comes back after its end, TensorFlow first makes anew what its unfinished step was to read, which is that
    training's dataset. If nobody served it, the worker would ask for ever, and do nothing in the trainings to come.
    Batches that nobody takes are let go after some minutes.

    Args:
        dataset: endless.
        host: name or address of this machine, as the others know it.
    """

    def __init__(self, dataset: tf.data.Dataset, host: str):
        self._dispatcher = _service.DispatchServer()
        self._address = f"{host}:{self._dispatcher.target.rpartition(':')[2]}"
        reader = _service.WorkerConfig(dispatcher_address=self._address, worker_address=f"{host}:%port%")
        self._reader = _service.WorkerServer(reader)
        self._element_spec = dataset.element_spec
        self._dataset = _service.register_dataset(self._address, dataset, compression=None)
        _serving.append(self)

    def batches(self) -> tf.data.Dataset:
        """What the process that iterates over it gets, for ever."""
        batches = _service.from_dataset_id(
            _service.ShardingPolicy.OFF,
            self._address,
            self._dataset,
            element_spec=self._element_spec,
            job_name="batches",  # of one job, or each process would get all of them
            max_outstanding_requests=1,
        )
        return batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
