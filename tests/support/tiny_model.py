"""What does a base model look like that costs nothing? OPT with two layers and random weights.

python tests/support/tiny_model.py /tmp/tiny-opt
JUDGE_MODEL=/tmp/tiny-opt bash vllm_server/run_vllm_server.sh
"""

import sys
from pathlib import Path

ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:?!-\n"


def make_tiny_opt(folder: Path) -> Path:
    """Write the model and a tokenizer of single characters; returns the folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "<pad>", "</s>", *ALPHABET]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", eos_token="</s>"
    ).save_pretrained(folder)
    config = OPTConfig(
        vocab_size=len(words),
        hidden_size=64,
        word_embed_proj_dim=64,
        ffn_dim=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
        bos_token_id=2,
        eos_token_id=2,
        pad_token_id=1,
    )
    OPTForCausalLM(config).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    make_tiny_opt(Path(sys.argv[1]))
