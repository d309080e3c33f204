#!/usr/bin/env bash
# Starts run_vllm_server.sh in the background and waits until it is ready; silent when it is already.
#
#   bash vllm_server/start_server.sh
#   bash vllm_server/start_server.sh --max-model-len 4096    # further arguments are for run_vllm_server.sh
#
# It listens where SERVER_HOST and SERVER_PORT say. Its process id and its log are in .run/ of the
# project's root; stop_server.sh ends it.
set -Eeuo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
log=$root/.run/server.log
pid_file=$root/.run/server.pid

usage() {
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
}

say() {
  printf 'server: %s\n' "$*" >&2
}

# ours: whether the recorded process runs and is our server (a process id can be given out again).
ours() {
  local pid=${1:-}
  [[ -n $pid && -r /proc/$pid/cmdline ]] || return 1
  tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qE 'run_vllm_server\.sh|vllm_server\.key_guard'
}

# phase: what the server does now, in words, from the last line of its log that tells.
phase() {
  local line
  line=$(tr '\r' '\n' <"$log" | grep -oE '^weights: .*|Starting to load model|Loading safetensors[^:]*: *[0-9]+%|Loading weights took|init engine|Resolved architecture|Initializing a V1 LLM engine|Starting vLLM server|starting vLLM' | tail -n 1) || true
  case $line in
    'weights: '*) printf '%s' "${line#weights: }" ;;
    'Resolved architecture'* | 'Initializing'*) printf 'starting the engine' ;;
    'Starting to load'* | 'Loading'*) printf 'loading the weights' ;;
    'init engine'* | 'Starting vLLM server'*) printf 'opening the port' ;;
    *) printf 'starting vLLM' ;;
  esac
}

# reason: the log's last line that says why the server ended; the engine's own before its parent's.
reason() {
  local lines
  lines=$(tr '\r' '\n' <"$log" | grep -E '^(run_vllm_server|check_model|weights|settings): |[A-Za-z]+Error: |: error: ' |
    grep -v 'Engine core initialization failed') || lines=$(<"$log")
  tail -n 1 <<<"$lines" | sed -E 's/^\([A-Za-z]+ pid=[0-9]+\) (ERROR [^]]*\] *)?//'
}

# owner: what listens on the port, see port_owner.py.
owner() {
  "$python" "$root/vllm_server/port_owner.py" "$SERVER_HOST" "$SERVER_PORT"
}

# use_or_refuse OWNER: nothing to start when a vLLM that was started by hand answers there.
use_or_refuse() {
  case $1 in
    free) return ;;
    'vllm '*)
      say "using the vLLM on port $SERVER_PORT, started by hand, serves ${1#vllm }"
      warn_of_another_model "${1#vllm }"
      exit 0
      ;;
    *) exec bash "$root/vllm_server/run_vllm_server.sh" ;; # says what has the port, and ends
  esac
}

warn_of_another_model() {
  if [[ -n $JUDGE_MODEL && $1 != "$JUDGE_MODEL" && $1 != "${JUDGE_MODEL##*/}" ]]; then
    say "it serves $1 and JUDGE_MODEL is $JUDGE_MODEL; to change: make stop, then make server"
  fi
}

start() {
  printf '' >"$log"
  # A session of its own: Ctrl-C in this terminal, or its end, is not for the server.
  setsid nohup bash "$root/vllm_server/run_vllm_server.sh" "$@" >>"$log" 2>&1 </dev/null 9>&- &
  printf '%s\n' "$!" >"$pid_file"
  say "starting in the background, process $!, log $log"
}

wait_until_ready() {
  local pid next=10
  pid=$(<"$pid_file")
  until served=$(owner) && [[ $served == 'vllm '* ]]; do
    if [[ $served == vllm ]]; then
      say "it wants another key than VLLM_API_KEY; to change the key: make stop, then make server"
      exit 2
    fi
    if ! ours "$pid"; then
      rm -f -- "$pid_file"
      say "it ended before it was ready: $(reason) (log: $log)"
      exit 2
    fi
    sleep 2
    if ((SECONDS >= next)); then
      say "$SECONDS s: $(phase)"
      next=$((SECONDS + 10))
    fi
  done
  say "ready on http://$SERVER_HOST:$SERVER_PORT after $SECONDS s, serves ${served#vllm }"
}

case ${1:-} in
  -h | --help)
    usage
    exit 0
    ;;
esac

if ! found=$(bash "$root/vllm_server/find_python.sh"); then
  say "no vLLM in the active environment or in $root/.venv; run 'make setup' in $root"
  exit 2
fi
python=${found#* }
assignments=$("$python" "$root/llm_client/settings.py") || exit 2
eval "$assignments"
if [[ -n $VLLM_API_KEY ]]; then export VLLM_API_KEY; fi

mkdir -p "$root/.run"
exec 9>"$root/.run/server.lock"
# Two `make server` at once: the second finds it running.
flock --nonblock 9 || { say "another start is under way here; waiting for it" && flock 9; }
if ours "$(cat "$pid_file" 2>/dev/null || true)"; then
  served=$(owner)
  if [[ $served == 'vllm '* ]]; then
    warn_of_another_model "${served#vllm }"
    exit 0
  fi
  say "it is starting already; waiting for it (log: $log)"
else
  use_or_refuse "$(owner)"
  start "$@"
fi
wait_until_ready
