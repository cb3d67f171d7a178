"""`python -m mim_tf.demo`: from a drawn shop to ranked products over gRPC, by the commands a user would type."""

from __future__ import annotations

import json
import signal
import sys

from mim_tf.commandline import run_command
from mim_tf.demo.chain import DemoChain, demo_parser, say_and_run

_EPILOG = """\
Draws a shop of a few hundred products with shoppers who have a taste in content and a taste of another kind, trains
all stages on it, compares the click model with and without content, exports it, starts a server on a free port and
asks it to rank products for one user. Running it again continues, and does not repeat what is finished.

example:
  python -m mim_tf.demo --workdir build/demo
"""


def main() -> None:
    """Run the command."""
    chain = DemoChain(demo_parser("demo", "The whole chain on a drawn shop, in minutes.", _EPILOG).parse_args())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped on the way out
    chain.make()
    say_and_run("mim_tf.evaluate", *chain.run)
    with chain.server() as address:
        _rank_for_one_user(chain, address)


def _rank_for_one_user(chain: DemoChain, address: str) -> None:
    """Ask for the products shown to one user in the validation days, best first."""
    from mim_tf.demo.candidates import candidates_of_one_user, ranking_request
    from mim_tf.serving.client import Client

    rows = candidates_of_one_user(chain.workdir)
    with Client(address) as client:
        client.wait_until_ready(chain.model)
        inputs = client.signatures(chain.model)["rank"].inputs
        answer = client.predict(
            chain.model, ranking_request(rows, inputs, top_k=len(rows["item_id"])), signature="rank"
        )
    titles = chain.titles()
    history = [item for item in rows["history_item_id"][0] if item != -1]
    print(f"\nUser {rows['user_id'][0]} bought, latest last:")
    print("\n".join(f"  {titles[item]}" for item in history[-6:]))
    print("\nThe server's ranking of what was shown next, and what was bought of it:\n")
    print("  probability  bought  product")
    bought = dict(zip(rows["item_id"], rows["label"], strict=True))
    for item, probability in zip(answer["top_item_id"][0], answer["top_probability"][0], strict=True):
        print(f"  {probability:11.3f}  {'yes' if bought[item] else '':<6}  {titles[item]}")
    metrics = json.loads((chain.workdir / "rank" / "metrics.json").read_text(encoding="utf-8"))
    print(f"\nAUC {metrics['auc']:.4f} with content, {metrics['auc_base']:.4f} without.")
    print(f"Pictures of the training: python -m mim_tf.tensorboard --workdir {chain.workdir}")


if __name__ == "__main__":
    run_command(main)
