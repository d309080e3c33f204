"""Can this model be served here? Yes: what vLLM needs to be told about it. No: why, in one line.

    python vllm_server/check_model.py Qwen/Qwen3-4B-Instruct-2507 --hardware gpu
    eval "$(python vllm_server/check_model.py ~/my-model --hardware cpu -- --max-model-len 4096)"

Prints assignments for bash: the array MODEL_ARGUMENTS and the environment that the model wants.
After `--` stand the user's own vLLM arguments, which win. Exit code 2: it cannot be served.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import argparse
import os
import shlex
import subprocess
from dataclasses import dataclass

import psutil

from llm_client.settings import SettingsError, load_settings
from vllm_server.model_files import ModelError, ModelFacts, model_facts

GIB = 1 << 30
MAX_LENGTH = 8192  # a long answer, its rubric and a justification; the rest would only cost memory
# Resident beside weights and cache, all three processes: 2.1 GiB with a tiny model, 3.5 with the
# 1.5B judge (weights 3.3 GiB).
OVERHEAD, OVERHEAD_OF_WEIGHTS = 2 * GIB, 0.45
KV_SPACES = (2, 1)  # GiB, the larger if it fits; 2 hold 75,000 tokens of the 1.5B judge
# Without tcmalloc, glibc gives each large tensor's pages back to the kernel and faults them in
# again, unless it is told to keep them: the 1.5B judge has then taken 1.7 GiB more after an hour.
# On two cores, 64 rows, 32 at once, rows/s with a justification and by one token: neither 0.96 and
# 1.93, kept pages 1.02 and 2.16, tcmalloc 0.97 and 2.14.
KEPT_PAGES = 4 * GIB
KEEP_PAGES = (
    "export MALLOC_MMAP_MAX_=${MALLOC_MMAP_MAX_:-0} "
    "MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-4294967296}"
)
TEMPLATE = Path(__file__).resolve().parent / "base_model_chat_template.jinja"


@dataclass(frozen=True)
class Wishes:
    """What the user's own vLLM arguments and environment say already."""

    max_length: bool
    chat_template: bool
    size_unknown: bool
    gpus: int
    kv_space: str


def main() -> int:
    """Check the model and print the assignments; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a model's folder or its id on the Hugging Face Hub")
    parser.add_argument(
        "--hardware", choices=("cpu", "gpu"), default="cpu", help="default: %(default)s"
    )
    parser.add_argument("vllm", nargs="*", help="the user's own vLLM arguments, after --")
    arguments = parser.parse_args()
    try:
        wishes = read_wishes(arguments.vllm)
        facts = model_facts(arguments.model, load_settings().hub_token)
        print("\n".join(assignments(facts, wishes, arguments.hardware)))  # noqa: T201
    except (ModelError, SettingsError) as error:
        print(f"check_model: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def read_wishes(arguments: list[str]) -> Wishes:
    """Pick what matters here out of vLLM's arguments, in any of the spellings that vLLM takes."""
    given = {word.split("=")[0].replace("_", "-") for word in arguments if word.startswith("-")}
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-tp", "--tensor-parallel-size", "--tensor_parallel_size", default="1")
    gpus = parser.parse_known_args(arguments)[0].tensor_parallel_size
    return Wishes(
        max_length="--max-model-len" in given,
        chat_template="--chat-template" in given,
        size_unknown=bool(given & {"-q", "--quantization", "--load-format", "--cpu-offload-gb"}),
        gpus=int(gpus) if gpus.isdecimal() else 1,
        kv_space=os.environ.get("VLLM_CPU_KVCACHE_SPACE", ""),
    )


def assignments(facts: ModelFacts, wishes: Wishes, hardware: str) -> list[str]:
    """The lines for bash; raises ModelError when memory is too small."""
    flags = ["--served-model-name", facts.name]
    if facts.max_length > MAX_LENGTH and not wishes.max_length:
        flags += ["--max-model-len", str(MAX_LENGTH)]
    if not facts.has_chat_template and not wishes.chat_template:
        flags += ["--chat-template", str(TEMPLATE)]
    lines = [f"MODEL_ARGUMENTS=({shlex.join(flags)})"]
    if hardware == "cpu":
        space, left = kv_space(facts, wishes)
        lines.append(f"export VLLM_CPU_KVCACHE_SPACE={space}")
        lines += [KEEP_PAGES] if left >= KEPT_PAGES else []
    else:
        check_gpu_memory(facts, wishes)
    if facts.offline:
        lines.append("export HF_HUB_OFFLINE=1")
    return lines


def kv_space(facts: ModelFacts, wishes: Wishes) -> tuple[int, float]:
    """GiB for the key-value cache on a CPU: the user's, or what memory has room for.

    And how many bytes are left beside all that vLLM needs (0 where unknown).
    """
    if wishes.kv_space and not wishes.kv_space.isdecimal():
        raise ModelError(
            f"VLLM_CPU_KVCACHE_SPACE: '{wishes.kv_space}' is not a whole number of GiB"
        )
    choices = (int(wishes.kv_space),) if wishes.kv_space else KV_SPACES
    available = available_memory()
    weights = 0 if wishes.size_unknown else facts.weights
    overhead = OVERHEAD + OVERHEAD_OF_WEIGHTS * weights
    for space in choices:
        needed = weights + space * GIB + overhead
        if available is None or needed <= available:
            return space, available - needed if available is not None else 0.0
    raise ModelError(
        f"too little memory for {facts.name}: it needs about {needed / GIB:.1f} GiB (weights "
        f"{weights / GIB:.1f}, key-value cache {space}, vLLM {overhead / GIB:.1f}) and "
        f"{(available or 0) / GIB:.1f} GiB are available; end other programs, or set JUDGE_MODEL "
        "to a smaller model"
    )


def available_memory() -> int | None:
    """Bytes that a new process can have, within this container's limit; None where unknown."""
    try:
        available = psutil.virtual_memory().available
    except (OSError, ValueError):
        return None
    try:
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        return min(available, limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no container, or no limit ("max")
        return available


def check_gpu_memory(facts: ModelFacts, wishes: Wishes) -> None:
    """Raise ModelError when the weights alone do not fit into the GPUs that will hold them."""
    query = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        run = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
        free = sum(int(mib) << 20 for mib in run.stdout.split()[: wishes.gpus])
    except (OSError, ValueError, subprocess.SubprocessError):
        return  # no answer is no reason to refuse: vLLM will say what it finds
    if free < facts.weights + GIB and not wishes.size_unknown:
        raise ModelError(
            f"too little GPU memory for {facts.name}: weights {facts.weights / GIB:.1f} GiB plus "
            f"1, and {free / GIB:.1f} GiB are free on {wishes.gpus} GPU(s); free them, share the "
            "model with --tensor-parallel-size, or set JUDGE_MODEL to a smaller or quantized model"
        )


if __name__ == "__main__":
    raise SystemExit(main())
