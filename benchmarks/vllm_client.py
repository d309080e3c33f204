"""How fast is the server when vLLM's own benchmark client sends the requests?

    python benchmarks/vllm_client.py --backend openai-chat --dataset-name custom ...

The command line is that of `vllm bench serve`, and so is what runs: with the repackaged CPU build
`vllm` itself dies ('No package metadata was found for vllm'), its module works. Started by
benchmarks/judge_speed.py.
"""

import argparse
import sys

from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser


def parse(argv: list[str]) -> argparse.Namespace:
    """The flags of `vllm bench serve`."""
    parser = FlexibleArgumentParser(description="vllm bench serve")
    add_cli_args(parser)
    flags: argparse.Namespace = parser.parse_args(argv)
    return flags


if __name__ == "__main__":
    main(parse(sys.argv[1:]))
