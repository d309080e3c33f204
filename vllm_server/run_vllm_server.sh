#!/usr/bin/env bash
# Serves the judge model with vLLM, on a GPU or without one, until Ctrl-C.
#
#   bash run_vllm_server.sh [vllm arguments...]
#   bash vllm_server/run_vllm_server.sh --port 8001 --max-model-len 4096
#   JUDGE_MODEL=facebook/opt-1.3b bash vllm_server/run_vllm_server.sh
#   bash vllm_server/run_vllm_server.sh --model meta-llama/Meta-Llama-3-8B-Instruct --tensor-parallel-size 2
#
# The settings (JUDGE_MODEL, SERVER_HOST, SERVER_PORT, VLLM_API_KEY, HUGGING_FACE_HUB_TOKEN) come from the
# environment or from .env, see .env.example. Every argument but --model goes to vLLM as it is, and wins.
# Without JUDGE_MODEL: Qwen/Qwen3-4B-Instruct-2507 on a GPU, Qwen2.5-Coder-1.5B-Instruct without one.
set -Eeuo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

die() {
  printf 'run_vllm_server: %s\n' "$*" >&2
  exit 2
}

usage() {
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
}

# read_arguments ARGUMENT...: picks out what this script must know; the rest, in order, is for vLLM.
read_arguments() {
  vllm_arguments=()
  while (($#)); do
    case $1 in
      --model | --host | --port)
        (($# > 1)) || die "$1 needs a value"
        take "$1" "$2"
        shift
        ;;
      --model=* | --host=* | --port=*) take "${1%%=*}" "${1#*=}" ;;
      *) vllm_arguments+=("$1") ;;
    esac
    shift
  done
}

take() {
  case $1 in
    --model) JUDGE_MODEL=$2 ;;
    --host) SERVER_HOST=$2 ;;
    --port) SERVER_PORT=$2 ;;
  esac
}

check_port() {
  local owner free="stop it ('make stop' if this folder's make started it), or take another port: SERVER_PORT=$((SERVER_PORT + 1))"
  owner=$("$python" "$root/vllm_server/port_owner.py" "$SERVER_HOST" "$SERVER_PORT")
  case $owner in
    free) ;;
    'vllm') die "port $SERVER_PORT is taken by a vLLM that wants another key than VLLM_API_KEY; $free" ;;
    vllm*) die "port $SERVER_PORT is taken by a vLLM that serves ${owner#vllm }; use it as it is, $free" ;;
    *) die "port $SERVER_PORT is taken by another program (not vLLM); $free" ;;
  esac
}

check_hardware() {
  if [[ $hardware == gpu && -z $(nvidia-smi -L 2>/dev/null) ]]; then
    die "this is vLLM's GPU build and nvidia-smi lists no GPU; run 'make setup' in $root for the CPU build"
  fi
}

# On a CPU vLLM asks for these; tcmalloc is Debian's libtcmalloc-minimal4.
set_up_cpu() {
  local library preload=()
  export VLLM_CPU_OMP_THREADS_BIND=${VLLM_CPU_OMP_THREADS_BIND:-$(all_cores)}
  for library in /usr/lib/*/libtcmalloc_minimal.so.4 /usr/lib64/libtcmalloc_minimal.so.4 \
    "$("$python" -c 'import sys; print(sys.prefix)')/lib/libiomp5.so"; do
    if [[ -e $library ]]; then preload+=("$library"); fi
  done
  if ((${#preload[@]})); then
    preload_list=$(IFS=:; printf '%s' "${preload[*]}")
  fi
}

# The cores that this process may use, as 0-3 or 0,2: vLLM by itself would keep one for its front end.
all_cores() {
  sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status
}

case ${1:-} in
  -h | --help)
    usage
    exit 0
    ;;
esac

found=$(bash "$root/vllm_server/find_python.sh") ||
  die "no vLLM in the active environment or in $root/.venv; run 'make setup' in $root"
hardware=${found%% *} python=${found#* }
assignments=$("$python" "$root/llm_client/settings.py") || exit 2
eval "$assignments"
read_arguments "$@"
[[ $SERVER_PORT =~ ^[0-9]+$ ]] || die "--port '$SERVER_PORT' is not a port number (1-65535)"

# Keys go through the environment: a command line is there for every user of the machine to read.
if [[ -n $VLLM_API_KEY ]]; then export VLLM_API_KEY; else unset VLLM_API_KEY; fi
if [[ -n $HUGGING_FACE_HUB_TOKEN ]]; then
  export HUGGING_FACE_HUB_TOKEN HF_TOKEN=$HUGGING_FACE_HUB_TOKEN
fi
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}

check_hardware
check_port
if [[ -z $JUDGE_MODEL ]]; then
  case $hardware in
    gpu) JUDGE_MODEL=Qwen/Qwen3-4B-Instruct-2507 ;;
    cpu) JUDGE_MODEL=$("$python" "$root/vllm_server/default_weights.py") ;;
  esac
fi
assignments=$("$python" "$root/vllm_server/check_model.py" --hardware "$hardware" "$JUDGE_MODEL" -- "${vllm_arguments[@]}")
eval "$assignments"

arguments=(
  --host "$SERVER_HOST" --port "$SERVER_PORT"
  "${MODEL_ARGUMENTS[@]}"
  --enable-prompt-tokens-details # cached tokens in `usage`
  --enable-tokenizer-info-endpoint # tells the judge which control tokens to keep out of a prompt
  --middleware vllm_server.generate_route.GenerateRoute
  --middleware vllm_server.key_guard.KeyGuard # last, and so the outermost
)
preload_list=
if [[ $hardware == gpu ]]; then
  command=("$python" -m vllm.entrypoints.cli.main serve "$JUDGE_MODEL")
else
  # With the repackaged CPU build `vllm serve` dies: No package metadata was found for vllm.
  # Eager: compiling takes 55 s more at each start, and judged as many rows a second (1.04 and 1.02).
  # Blocks of 128 tokens, the default, leave more of what rows share to be computed for each row:
  # with judge_prompt_criteria.txt 237 tokens in place of 142, 0.56 rows/s in place of 0.71.
  # (With judge_prompt.txt, whose shared text happens to fill three blocks: 0.97 in place of 1.02.)
  # All rows/s: judge_speed.py's requests in a bare loop, 48 to 64 rows, 32 at once, on two cores.
  set_up_cpu
  command=("$python" -m vllm.entrypoints.openai.api_server --model "$JUDGE_MODEL" --enforce-eager --block-size 32)
fi
printf 'run_vllm_server: starting vLLM with %s on http://%s:%s; Ctrl-C ends it\n' \
  "$JUDGE_MODEL" "$SERVER_HOST" "$SERVER_PORT" >&2
if [[ -n $preload_list ]]; then export LD_PRELOAD=$preload_list${LD_PRELOAD:+:$LD_PRELOAD}; fi
exec "${command[@]}" "${arguments[@]}" "${vllm_arguments[@]}"
