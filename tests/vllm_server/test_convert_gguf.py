"""Does a GGUF file become a folder of the same weights, in int8 within half a step, in bfloat16?

    python -m pytest tests/vllm_server/test_convert_gguf.py

A tiny Qwen2 with the quantisations of the default judge's file (Q4_K, Q6_K, float32); the real
file is converted and served by `make test` itself.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize
from safetensors.torch import load_file

from vllm_server.convert_gguf import MADE_FROM, convert, hugging_face_name, made_from

HIDDEN, INNER, KV, VOCABULARY, LAYERS = 256, 512, 128, 288, 2
ORIGIN = {"file": "tiny.gguf", "form": "int8"}
Q4, Q6 = gguf.GGMLQuantizationType.Q4_K, gguf.GGMLQuantizationType.Q6_K


def blocks(rows: int, columns: int, kind: gguf.GGMLQuantizationType, seed: int) -> np.ndarray:
    """Any bytes are a quantised tensor, but for the two 16-bit scales of a block."""
    size, width = gguf.GGML_QUANT_SIZES[kind]
    made = np.random.default_rng(seed)
    data = made.integers(0, 256, (rows, columns // size, width), dtype=np.uint8)
    scales = made.uniform(0.001, 0.01, (rows, columns // size, 2)).astype(np.float16)
    if kind == Q4:
        data[..., :4] = scales.view(np.uint8)
    else:
        data[..., -2:] = scales[..., :1].copy().view(np.uint8)
    return data.reshape(rows, -1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_block_count(LAYERS)
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    letters = [chr(256 + n) if n < 33 else chr(n) for n in range(VOCABULARY - 4)]
    writer.add_token_list([*letters, "ab", "<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    writer.add_token_types([1] * (VOCABULARY - 3) + [3] * 3)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(VOCABULARY - 3)
    writer.add_eos_token_id(VOCABULARY - 1)
    writer.add_pad_token_id(VOCABULARY - 3)
    writer.add_chat_template("{{ messages[0].content }}")
    shapes = {"token_embd": (VOCABULARY, HIDDEN, Q4), "output": (VOCABULARY, HIDDEN, Q6)}
    for layer in range(LAYERS):
        at = f"blk.{layer}"
        shapes |= {f"{at}.attn_q": (HIDDEN, HIDDEN, Q4), f"{at}.attn_k": (KV, HIDDEN, Q4)}
        shapes |= {f"{at}.attn_v": (KV, HIDDEN, Q6), f"{at}.attn_output": (HIDDEN, HIDDEN, Q4)}
        shapes |= {f"{at}.ffn_{name}": (INNER, HIDDEN, Q4) for name in ("gate", "up")}
        shapes[f"{at}.ffn_down"] = (HIDDEN, INNER, Q6)
    for seed, (name, (rows, columns, kind)) in enumerate(shapes.items()):
        writer.add_tensor(f"{name}.weight", blocks(rows, columns, kind, seed), raw_dtype=kind)
    for layer in range(LAYERS):
        for name, size in (("attn_q", HIDDEN), ("attn_k", KV), ("attn_v", KV)):
            writer.add_tensor(f"blk.{layer}.{name}.bias", np.arange(size, dtype=np.float32))
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(HIDDEN, np.float32))
    writer.add_tensor("output_norm.weight", np.ones(HIDDEN, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def int8(tiny: Path) -> Path:
    folder = tiny.parent / "int8"
    leftover = folder.with_name("int8.converting")  # of a conversion that was killed
    leftover.mkdir()
    (leftover / "model-00009-of-00009.safetensors").touch()
    convert(tiny, folder, True, ORIGIN)
    return folder


def read(folder: Path) -> Mapping[str, torch.Tensor]:
    """The folder's tensors, each from the file that the index names."""
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    files = {name: load_file(folder / name) for name in set(index.values())}
    assert set(index) == {name for file in files.values() for name in file}
    return {name: files[file][name] for name, file in index.items()}


def wanted(path: Path) -> Mapping[str, torch.Tensor]:
    return {
        hugging_face_name(tensor.name): torch.tensor(dequantize(tensor.data, tensor.tensor_type))
        for tensor in gguf.GGUFReader(path).tensors
    }


def test_int8_is_the_nearest_of_255_steps_of_each_channel(tiny: Path, int8: Path) -> None:
    found = dict(read(int8))
    for name, exact in wanted(tiny).items():
        made = found.pop(name)
        if name.endswith("proj.weight"):
            scale = found.pop(f"{name}_scale")
            assert (made.dtype, scale.dtype) == (torch.int8, torch.float32)
            assert scale.shape == (len(exact), 1)
            assert torch.allclose(scale[:, 0] * 127, exact.abs().amax(dim=1))
            assert ((made * scale - exact).abs() <= scale * 0.5001).all()
        else:
            assert torch.equal(made, exact.to(torch.bfloat16))
    assert found == {}
    config = json.loads((int8 / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
    assert (config["vocab_size"], config["num_key_value_heads"]) == (VOCABULARY, 2)
    assert config["rope_parameters"]["rope_theta"] == 1e6


def test_bfloat16_is_what_the_file_says(tiny: Path, tmp_path: Path) -> None:
    convert(tiny, tmp_path / "model", False, ORIGIN)
    found = read(tmp_path / "model")
    exact = wanted(tiny)
    assert set(found) == set(exact)
    assert all(torch.equal(found[name], exact[name].to(torch.bfloat16)) for name in exact)
    assert "quantization_config" not in json.loads((tmp_path / "model/config.json").read_text())


def test_the_folder_has_a_tokenizer_and_says_what_it_was_made_from(int8: Path) -> None:
    from transformers import AutoTokenizer

    assert made_from(int8) == ORIGIN
    assert not list(int8.glob("*00009*"))
    tokenizer = AutoTokenizer.from_pretrained(int8)
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.decode(tokenizer("ab")["input_ids"]) == "ab"
    assert tokenizer.chat_template


def test_a_folder_that_says_nothing_was_made_from_nothing(tmp_path: Path) -> None:
    assert made_from(tmp_path) == {}
    (tmp_path / MADE_FROM).write_text("{")
    assert made_from(tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("blk.3.attn_q.weight", "model.layers.3.self_attn.q_proj.weight"),
        ("blk.11.ffn_norm.weight", "model.layers.11.post_attention_layernorm.weight"),
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output.weight", "lm_head.weight"),
    ],
)
def test_a_tensors_name(name: str, there: str) -> None:
    assert hugging_face_name(name) == there


def test_a_tensor_of_another_architecture_is_no_weight_in_silence() -> None:
    with pytest.raises(KeyError):
        hugging_face_name("blk.0.ffn_gate_exps.weight")
