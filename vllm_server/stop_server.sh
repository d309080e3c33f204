#!/usr/bin/env bash
# Ends the server that start_server.sh started in this folder, and no other.
#
#   bash vllm_server/stop_server.sh
#   make stop
set -Eeuo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
pid_file=$root/.run/server.pid
grace=30

usage() {
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
}

say() {
  printf 'server: %s\n' "$*" >&2
}

# ours: whether this process is our server (a process id can be given out again).
ours() {
  [[ -n $1 && -r /proc/$1/cmdline ]] || return 1
  tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -qE 'run_vllm_server\.sh|vllm_server\.key_guard'
}

case ${1:-} in
  -h | --help)
    usage
    exit 0
    ;;
esac

pid=$(cat "$pid_file" 2>/dev/null || true)
if ! ours "$pid"; then
  rm -f -- "$pid_file"
  say "none that was started from $root is running"
  exit 0
fi

# Its own session, hence its own process group: the engine and the workers go with it.
kill -TERM -- "-$pid" 2>/dev/null || kill -TERM "$pid"
for ((waited = 0; waited < grace * 5; waited++)); do
  if ! ours "$pid"; then break; fi
  sleep 0.2
done
if ours "$pid"; then
  say "process $pid did not end within $grace s: killing it"
  kill -KILL -- "-$pid"
fi
rm -f -- "$pid_file"
say "stopped (process $pid)"
