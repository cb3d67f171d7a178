"""A whole run: requests, phases, report."""

from __future__ import annotations

import argparse
import asyncio
import gc
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mim_tf.errors import MimError
from mim_tf.serving.client import Client, Tls
from mim_tf.serving.load.open_loop import OpenLoop, connected, event_loop, warm_up
from mim_tf.serving.load.phases import Measured, Phase, run_phases
from mim_tf.serving.load.recorded_requests import recorded_requests
from mim_tf.serving.load.reload import Reload
from mim_tf.serving.load.report import report_lines, write_report
from mim_tf.serving.load.resampling import Resampler, Sizes
from mim_tf.serving.load.summary import summaries_of
from mim_tf.serving.load.upsert_process import UpsertOrder, upsert_process

_DRAWN = 100  # different requests, where they are drawn
_READY = 60.0  # seconds to wait for the model at the start
_ROWS = 100  # of an upsert
_WARM_UP = 3.0  # seconds before each steady phase, at its rate: it comes first, and must not be the cold one


def run_load_test(options: argparse.Namespace) -> None:
    """Run what the command was asked for, and report; also what was measured before a phase failed.

    Args:
        options: of the command.

    Raises:
        MimError: the server does not answer or refuses a request, an option does not fit what is there, or what a phase
            does has failed.
        OSError: a file cannot be read or written.
    """
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)  # what cannot be written is known before the load
    requests = _requests(options)
    measured: list[Measured] = []
    left_out: list[str] = []
    try:
        with ExitStack() as stack:
            client = stack.enter_context(Client(options.server, timeout=options.timeout, tls=_tls(options)))
            client.wait_until_ready(options.model, _READY)
            phases, left_out = _phases(options, client, stack)
            _measure(options, phases, requests, measured)
    except (MimError, OSError) as error:
        if measured:
            _report(options, measured, {"left_out": left_out, "failed": str(error)})
        raise
    _report(options, measured, {"left_out": left_out, "failed": None})


def _report(options: argparse.Namespace, measured: Sequence[Measured], rest: dict[str, Any]) -> None:
    """Print and write what was measured, and in `rest` what was not."""
    summaries = summaries_of(measured)
    print("\n".join([*report_lines(summaries), *rest["left_out"]]), flush=True)
    if options.out is not None:
        from mim_tf.serving.load.picture import draw_report  # takes a second

        write_report(summaries, _about(options) | rest, options.out / "report.json")
        draw_report(measured, summaries, options.out / "latency.png")


def _requests(options: argparse.Namespace) -> list[bytes]:
    """Serialised: as recorded, or drawn of the sizes asked for."""
    requests = recorded_requests(options.requests, options.model, options.signature)
    sizes = Sizes(options.users, options.candidates, options.history)
    if any(size is not None for size in sizes):
        drawn = Resampler(requests, sizes, options.seed)
        requests = [drawn.draw() for _ in range(_DRAWN)]
    return [request.SerializeToString() for request in requests]


def _phases(options: argparse.Namespace, client: Client, stack: ExitStack) -> tuple[list[Phase], list[str]]:
    """The phases, and a word on those that are left out."""
    phases = [Phase("steady", rate, warm_up=_WARM_UP) for rate in options.rate]
    left_out = []
    if options.store is not None:
        phases.append(Phase("upsert", options.rate[0], stack.enter_context(upsert_process(_order(options)))))
    else:
        left_out.append("upsert was left out: it needs --store and --upserts-per-second.")
    if options.models is not None:
        reload = stack.enter_context(Reload(client, options.models, options.model))
        phases.append(Phase("reload", options.rate[0], reload.publish, to_its_end=True))
    else:
        left_out.append("reload was left out: it needs --models.")
    return phases, left_out


def _order(options: argparse.Namespace) -> UpsertOrder:
    return UpsertOrder(
        server=options.server,
        timeout=options.timeout,
        tls=_tls(options),
        table=options.table or options.model,
        store=options.store,
        rows=options.upsert_rows or _ROWS,
        per_second=options.upserts_per_second,
        seed=options.seed,
    )


def _measure(
    options: argparse.Namespace, phases: Sequence[Phase], requests: Sequence[bytes], measured: list[Measured]
) -> None:
    """Add what each phase saw to `measured`, which so keeps what there is when one fails."""

    async def run() -> None:
        async with connected(options.server, options.timeout, _tls(options)) as send:
            await warm_up(send, requests)
            gc.freeze()  # what is there by now stays: to look through it would keep requests from being sent in time
            async for one in run_phases(phases, OpenLoop(send, requests), options.seconds, options.seed):
                measured.append(one)

    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(run())


def _tls(options: argparse.Namespace) -> Tls | None:
    if options.tls_ca is None and options.tls_cert is None:
        return None
    return Tls(roots=options.tls_ca, certificate=options.tls_cert, key=options.tls_key)


def _about(options: argparse.Namespace) -> dict[str, Any]:
    """The options as they were given, in JSON's types."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
