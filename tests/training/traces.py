"""Traces of steps, read from the files that TensorBoard's profiler reads."""

from pathlib import Path


def planes(folder: Path) -> list[bytes]:
    """The traces of a run."""
    return [path.read_bytes() for path in folder.glob("plugins/profile/*/*.xplane.pb")]


def steps_in(plane: bytes) -> list[int]:
    """The numbers of the steps in a trace."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace.FromString(plane)
    numbers = set()
    for host in space.planes:
        kinds = {number: kind.name for number, kind in host.stat_metadata.items()}
        names = {number: event.name for number, event in host.event_metadata.items()}
        for line in host.lines:
            for event in line.events:
                if names[event.metadata_id] == "train":
                    numbers |= {stat.int64_value for stat in event.stats if kinds[stat.metadata_id] == "step_num"}
    return sorted(numbers)
