"""How does a GGUF file become a folder that vLLM serves? Tensor by tensor, in int8 or bfloat16.

    python vllm_server/default_weights.py    # the caller

int8 is the W8A8 form of compressed-tensors: a linear layer's weight is rounded to int8 with one
scale for each output channel (max |w| / 127), its input is rounded by the server, a scale a token.
Embeddings, norms, biases and the head are bfloat16 (a head in int8 was tried: 0.99 times as many
rows a second). One file a layer, so that never more than some layers are in memory; only Qwen2's
architecture is read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gguf import GGUFReader, ReaderTensor
    from torch import Tensor

MADE_FROM = "made_from.json"
ROWS = 8192  # of a tensor that are float32 at once: 50 MB of the embeddings' 930
NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
W8A8 = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "channel",
                "dynamic": False,
            },
            "input_activations": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "token",
                "dynamic": True,
            },
        }
    },
}


def convert(gguf_file: Path, folder: Path, int8: bool, origin: Mapping[str, Any]) -> None:
    """Write the folder, whole or not at all; `origin` is what `made_from` reads back."""
    temporary = folder.with_name(f"{folder.name}.converting")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    with ProcessPoolExecutor(1) as other:  # a core for the vocabulary, which takes as long
        vocabulary = other.submit(write_tokenizer, gguf_file, temporary)
        import gguf

        reader = gguf.GGUFReader(gguf_file)
        write_weights(reader, temporary, int8)
        write_config(reader, temporary, int8)
        vocabulary.result()
    (temporary / MADE_FROM).write_text(json.dumps(origin, indent=1))
    temporary.rename(folder)


def made_from(folder: Path) -> Mapping[str, Any]:
    """What that folder says it was made from; empty where it says nothing."""
    try:
        content: Mapping[str, Any] = json.loads((folder / MADE_FROM).read_text())
    except (OSError, ValueError):
        return {}
    return content


def write_tokenizer(gguf_file: Path, folder: Path) -> None:
    """The vocabulary and the chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
    tokenizer.save_pretrained(folder)


def write_config(reader: GGUFReader, folder: Path, int8: bool) -> None:
    """The architecture's numbers, and how the weights are to be read."""

    def value(key: str) -> Any:
        return reader.fields[key].contents()

    tokens = {
        "bos_token_id": value("tokenizer.ggml.bos_token_id"),
        "eos_token_id": value("tokenizer.ggml.eos_token_id"),
        "pad_token_id": value("tokenizer.ggml.padding_token_id"),
    }
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "dtype": "bfloat16",
        "vocab_size": len(reader.fields["tokenizer.ggml.tokens"].data),
        "hidden_size": value("qwen2.embedding_length"),
        "intermediate_size": value("qwen2.feed_forward_length"),
        "num_hidden_layers": value("qwen2.block_count"),
        "num_attention_heads": value("qwen2.attention.head_count"),
        "num_key_value_heads": value("qwen2.attention.head_count_kv"),
        "max_position_embeddings": value("qwen2.context_length"),
        "rms_norm_eps": value("qwen2.attention.layer_norm_rms_epsilon"),
        "rope_parameters": {"rope_type": "default", "rope_theta": value("qwen2.rope.freq_base")},
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        **tokens,
        **({"quantization_config": W8A8} if int8 else {}),
    }
    for name, content in (("config", config), ("generation_config", tokens)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1))


def write_weights(reader: GGUFReader, folder: Path, int8: bool) -> None:
    """One safetensors file a layer and an index of them; raises KeyError for a foreign tensor."""
    import torch
    from safetensors.torch import save_file

    torch.set_num_threads(1)  # a layer is one thread's
    layers: dict[str, list[ReaderTensor]] = {}
    for tensor in reader.tensors:
        kind, _, rest = tensor.name.partition(".")
        layers.setdefault(rest.partition(".")[0] if kind == "blk" else kind, []).append(tensor)

    def write(number: int, tensors: list[ReaderTensor]) -> tuple[str, list[str], int]:
        file = f"model-{number:05}-of-{len(layers):05}.safetensors"
        made = {name: part for one in tensors for name, part in converted(one, int8)}
        save_file(made, folder / file, metadata={"format": "pt"})
        return file, list(made), sum(part.nbytes for part in made.values())

    # The large ones first: the last one to be done is then a small one.
    jobs = sorted(layers.values(), key=lambda tensors: -sum(one.n_bytes for one in tensors))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        written = list(pool.map(write, range(1, len(jobs) + 1), jobs))
    index = {
        "metadata": {"total_size": sum(size for _, _, size in written)},
        "weight_map": {name: file for file, names, _ in written for name in names},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


def converted(tensor: ReaderTensor, int8: bool) -> Iterator[tuple[str, Tensor]]:
    """The tensor under its Hugging Face name; in int8 its scales, [channels, 1], after it."""
    import numpy as np
    import torch
    from gguf.quants import dequantize

    name = hugging_face_name(tensor.name)
    quantized = int8 and name.endswith("_proj.weight")
    weights, scales = [], []
    for start in range(0, len(tensor.data), ROWS):
        rows = tensor.data[start : start + ROWS]
        block = torch.from_numpy(np.require(dequantize(rows, tensor.tensor_type), requirements="W"))
        if quantized:
            scale = block.abs().amax(dim=1, keepdim=True).clamp_(min=1e-12).div_(127)
            weights.append(block.div_(scale).round_().to(torch.int8))
            scales.append(scale)
        else:
            weights.append(block.to(torch.bfloat16))
    yield name, torch.cat(weights)
    if quantized:
        yield f"{name}_scale", torch.cat(scales)


def hugging_face_name(name: str) -> str:
    """`blk.3.attn_q.weight` is `model.layers.3.self_attn.q_proj.weight` there."""
    *block, kind, part = name.split(".")
    prefix = f"model.layers.{block[1]}." if block else ""
    return f"{prefix}{NAMES[kind]}.{part}"
