"""Tokenizers as real models have them, trained on a few lines, and a tiny model that speaks one; for the tests of engines.

None splits a text into words first, so that their tokens reach over every border.
"""

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END = "<|end|>"
LINES = [
    "i must compute 3 + 4.\nAction: calculator\nInput: 3 + 4\nObservation: 7\nThought: it is 7.\nAction: cot\nInput: Answer: A",
    "the capital is Zürich, größer als Malmö.\nAction: search\nInput: Zürich.\nObservation: 😀 naïve ½ 日本 12 €\nThought: so.\n\n",
    "print(1 , 2).\nAction: python_repl\nInput: print(x)\n\nObservation: 1 2\n\nThought: done.\nAction: cot\nInput: so. Answer: B",
]


def byte_level(size=400):
    """BPE over bytes, as GPT-2, Llama 3 and Qwen have it: a character may be spread over tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _trained(made, vocab_size=size, initial_alphabet=alphabet)


def sentencepiece(size=200):
    """BPE over characters with spaces as signs and bytes for what it does not know, as Llama 2 and Mistral have it.

    A line break is one of its characters, so that its pieces reach over one, as those of Gemma do.
    """
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token=pieces[0]))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _trained(made, vocab_size=256 + size, special_tokens=pieces, limit_alphabet=60)


def _trained(made, **how):
    trainer = trainers.BpeTrainer(max_token_length=6, show_progress=False, **how)
    made.train_from_iterator(LINES * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END)


def save_policy(folder):
    """A tiny Llama with random weights that speaks byte-level BPE: it says any token, parts of characters included."""
    words = byte_level()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
