"""What is known of a model before it is loaded: its size, its context length, its chat template?

From its files alone, a folder's or the Hub's; nothing is imported that takes long, no weights are
fetched. `check_model.py` is the caller:

    python vllm_server/check_model.py facebook/opt-1.3b
    python vllm_server/check_model.py ~/.cache/llm-judge/Qwen2.5-Coder-1.5B-Instruct
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WEIGHTS = ("*.safetensors", "*.bin", "*.pt")
LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")
HUB_SECONDS = 5.0


class ModelError(ValueError):
    """A model that cannot be served; the message is one line with the remedy."""


@dataclass(frozen=True)
class ModelFacts:
    """Weights in bytes as they lie in memory, longest context in tokens; 0 stands for unknown."""

    name: str
    weights: int
    max_length: int
    has_chat_template: bool
    offline: bool


def model_facts(model: str, token: str) -> ModelFacts:
    """Facts about a folder or a Hub id; raises ModelError when there is no such model."""
    path = Path(model).expanduser()
    if path.is_dir():
        return folder_facts(path.resolve(), path.resolve().name)
    if path.exists():
        raise ModelError(f"{model} is a file; JUDGE_MODEL wants a model's folder or a Hub id")
    if model.startswith(("/", ".", "~")):
        raise ModelError(f"no folder {model}; set JUDGE_MODEL to a model's folder or a Hub id")
    return hub_facts(model, token)


def folder_facts(folder: Path, name: str) -> ModelFacts:
    """Facts about a Hugging Face folder on this disk."""
    config = read_json(folder / "config.json")
    if not config:
        raise ModelError(f"{folder} is not a model's folder: it has no readable config.json")
    for index in folder.glob("*.index.json"):
        lost = sorted(set(read_json(index).get("weight_map", {}).values()) - names(folder))
        if lost:
            raise ModelError(f"{folder} is incomplete: {lost[0]} is missing; download it again")
    sizes = {pattern: sum(f.stat().st_size for f in folder.glob(pattern)) for pattern in WEIGHTS}
    if not any(sizes.values()):
        raise ModelError(f"{folder} has no weights ({', '.join(WEIGHTS)}); download them again")
    template = bool(read_json(folder / "tokenizer_config.json").get("chat_template"))
    template = template or bool(names(folder) & {"chat_template.jinja", "chat_template.json"})
    weights = next(size for size in sizes.values() if size)
    return ModelFacts(name, in_memory(weights, config), max_length(config), template, True)


def hub_facts(model: str, token: str) -> ModelFacts:
    """Facts about a model on the Hub, or in its cache where the Hub cannot be reached."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def fetched(file: str) -> Mapping[str, Any]:
        try:
            path = hf_hub_download(model, file, token=token or None, etag_timeout=HUB_SECONDS)
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            return {}
        return read_json(Path(path))

    try:
        if offline_asked():
            return cached_facts(model)
        api = HfApi(token=token or None)
        info = api.model_info(model, files_metadata=True, timeout=HUB_SECONDS)
        config = fetched("config.json")
        template = fetched("tokenizer_config.json").get("chat_template")
    except Exception as error:  # the client raises what its transports raise, and changes them
        refused = refusal(model, token, error)
        if refused:
            raise ModelError(refused) from None
        return cached_facts(model)
    if not config:
        raise ModelError(f"{model} on the Hub has no config.json: it is not a model for vLLM")
    files = {file.rfilename: file.size or 0 for file in info.siblings or []}
    sizes = [sum(files[f] for f in files if Path(f).match(p) and "/" not in f) for p in WEIGHTS]
    weights = in_memory(next((size for size in sizes if size), 0), config)
    has_template = bool(template) or bool(
        files.keys() & {"chat_template.jinja", "chat_template.json"}
    )
    return ModelFacts(model, weights, max_length(config), has_template, False)


def refusal(model: str, token: str, error: Exception) -> str:
    """What the Hub says against this model, or an empty string when it did not answer."""
    from huggingface_hub import errors

    page = f"https://huggingface.co/{model}"
    if isinstance(error, errors.GatedRepoError) and token:
        return f"{model} is gated and this token has no access yet; ask for it on {page}"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{model} is gated: accept its terms on {page} and set HUGGING_FACE_HUB_TOKEN in .env "
            "to a token from https://huggingface.co/settings/tokens"
        )
    if isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError):
        return (
            f"no model '{model}': it is neither a folder here nor on the Hub; check JUDGE_MODEL "
            "(a private model also needs HUGGING_FACE_HUB_TOKEN)"
        )
    return ""


def cached_facts(model: str) -> ModelFacts:
    """Facts about a Hub model that an earlier run has put into the Hub's cache."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, local_files_only=True))
        return folder_facts(folder, model)
    except (OSError, ValueError):
        raise ModelError(
            f"the Hugging Face Hub cannot be reached and {model} is not in its cache; connect to "
            "the network, or set JUDGE_MODEL to a folder (empty: the default judge)"
        ) from None


def offline_asked() -> bool:
    """Whether the user told the Hub's client to stay off the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}


def in_memory(size: int, config: Mapping[str, Any]) -> int:
    """Weights on disk to weights in memory: vLLM loads float32 as 16 bits."""
    kind = text_config(config).get("dtype") or text_config(config).get("torch_dtype")
    return size // 2 if kind == "float32" else size


def max_length(config: Mapping[str, Any]) -> int:
    """The model's own context length in tokens, 0 when its config does not say."""
    lengths = (text_config(config).get(key) for key in LENGTH_KEYS)
    return next((length for length in lengths if isinstance(length, int)), 0)


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of a multimodal model's config."""
    nested = config.get("text_config")
    return {**config, **nested} if isinstance(nested, dict) else config


def names(folder: Path) -> set[str]:
    """The names in a folder."""
    return {file.name for file in folder.iterdir()}


def read_json(path: Path) -> Mapping[str, Any]:
    """A JSON object from a file; empty when there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
