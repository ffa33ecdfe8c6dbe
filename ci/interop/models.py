"""The models, vocabularies and texts that peers are compared on."""

import json

import numpy as np
from b158 import ROOT, WORK
from gguf import GGUFReader
from safetensors.numpy import load_file, save_file

SHARED = ROOT.parent / "shared"
TWINS = ROOT / "ci/twins"

def variant(source, name, dropped=(), **config):
    """A copy of a Hugging Face folder without some tensors and with other values in its config."""
    out = WORK / name
    out.mkdir(parents=True, exist_ok=True)
    weights = load_file(source / "model.safetensors")
    weights = {name: weight for name, weight in weights.items() if name not in dropped}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    for file in source.iterdir():
        if file.suffix == ".safetensors":
            continue
        content = file.read_bytes()
        if file.name == "config.json":
            content = json.dumps(json.loads(content) | config).encode()
        (out / file.name).write_bytes(content)
    return out


def tied(source):
    """The output head is the embedding: what the peers' BitNet graphs assume of every model."""
    return variant(source, f"{source.name}-tied", dropped=["lm_head.weight"], tie_word_embeddings=True)


def desk_text():
    """The embedded text that the embedded twins were trained on."""
    pages = (ROOT / "tests/fixtures/wikitext.jsonl").read_text(encoding="utf-8").splitlines()
    return "\n".join(json.loads(page)["page"] for page in pages)


def shared(path):
    """A file of the shared data, or None with a message when it is not there."""
    path = SHARED / path
    if path.exists():
        return path
    print(f"skipped: no {path.name} beside this folder", flush=True)
    return None


# llama.cpp's names of the parts of a block, and those of 1bitLLM's checkpoints.
BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_sub_norm": "self_attn.inner_attn_ln",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_sub_norm": "mlp.ffn_layernorm",
    "ffn_down": "mlp.down_proj",
}


def story_model():
    """A model of 3 million ternary weights that somebody trained on short stories, out of a GGUF file of
    llama.cpp's `bitnet` (SiLU, tied head) into a Hugging Face folder with a SentencePiece tokenizer."""
    path, tokenizer = shared("data/models/derived/bitllama2c-3M.f16.gguf"), shared("data/models/bitllama2c/tokenizer.model")
    if path is None or tokenizer is None:
        return None
    out = WORK / "bitllama2c-3M"
    out.mkdir(parents=True, exist_ok=True)
    reader = GGUFReader(path)

    def field(key):
        return reader.get_field(f"bitnet.{key}").contents()

    top = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    weights = {}
    for tensor in reader.tensors:
        name = top.get(tensor.name)
        if name is None:
            _, layer, part, _ = tensor.name.split(".")
            name = f"model.layers.{layer}.{BLOCK[part]}.weight"
        weights[name] = np.array(tensor.data)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "tokenizer.model").write_bytes(tokenizer.read_bytes())
    config = {
        "architectures": ["BitnetForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": field("embedding_length"), "intermediate_size": field("feed_forward_length"),
        "num_hidden_layers": field("block_count"), "num_attention_heads": field("attention.head_count"),
        "num_key_value_heads": field("attention.head_count_kv"), "max_position_embeddings": field("context_length"),
        "rms_norm_eps": field("attention.layer_norm_rms_epsilon"), "rope_theta": field("rope.freq_base"),
        "vocab_size": field("vocab_size"), "tie_word_embeddings": True, "torch_dtype": "float16",
        "bos_token_id": 1, "eos_token_id": 2,
    }
    (out / "config.json").write_text(json.dumps(config))
    return out


def stories():
    """Text of the kind that `story_model` was trained on."""
    return shared("data/tinystories/yuninxia-tinystories_val.txt").read_text(encoding="utf-8")[:60000]


def vocabulary(name, files, rows, **special):
    """A model of one small random layer around a tokenizer: only its vocabulary matters."""
    folder = WORK / f"vocabulary-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / file.name).write_bytes(file.read_bytes())
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256,
        "intermediate_size": 256, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 4,
        "hidden_act": "silu", "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
        "vocab_size": rows, "tie_word_embeddings": True, "torch_dtype": "float16",
    }
    (folder / "config.json").write_text(json.dumps(config | special))
    random = np.random.default_rng(0)
    shapes = {"model.embed_tokens": (rows, 256), "model.norm": (256,)}
    for part in ("q", "k", "v", "o"):
        shapes[f"model.layers.0.self_attn.{part}_proj"] = (256, 256)
    for part in ("gate", "up", "down"):
        shapes[f"model.layers.0.mlp.{part}_proj"] = (256, 256)
    for part in ("input", "post_attention"):
        shapes[f"model.layers.0.{part}_layernorm"] = (256,)
    weights = {f"{k}.weight": random.standard_normal(s, dtype=np.float32).astype(np.float16) for k, s in shapes.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def vocabularies():
    """Name, tokenizer files, rows of the embedding, special ids, file of published texts and ids."""
    if folder := shared("data/tokenizers"):
        large = folder / "bitnet_b1_58-large"
        files = [large / f for f in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")]
        sentencepiece = {"bos_token_id": 1, "eos_token_id": 2}
        # 32002 rows for 32000 pieces and two added tokens.
        yield "bitnet_b1_58-large", files, 32002, sentencepiece, "llama-spm"
        yield "sentencepiece", [folder / "llama2/tokenizer.model"], 32000, sentencepiece, "llama-spm"
        tiktoken = {"bos_token_id": 128000, "eos_token_id": 128001}
        yield "tiktoken", [folder / "llama3-bitnet2b4t/tokenizer.model"], 128256, tiktoken, "llama-bpe"
        lists = [folder / "gpt2/vocab.json", folder / "gpt2/merges.txt"]
        yield "gpt2", lists, 50257, {"bos_token_id": 50256, "eos_token_id": 50256}, "gpt-2"


def published(name):
    """Texts and the ids that llama.cpp's own tests expect, without special tokens."""
    base = SHARED / f"data/tokenizers/llama.cpp/ggml-vocab-{name}.gguf"
    texts = base.with_suffix(".gguf.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    lines = base.with_suffix(".gguf.out").read_text(encoding="utf-8").splitlines()
    return list(zip(texts, ([int(i) for i in line.split()] for line in lines)))


def texts(name, text):
    """Lines of a text, and texts that tokenizers get wrong, for the model of that name."""
    lines = [line for line in text.splitlines() if line.strip()][:40] + HARD_TEXTS
    if name == "3M":
        # Its tokenizer drops blanks at the ends and runs of them, which llama.cpp's does not: `convert` warns.
        lines = [line for line in lines if line == " ".join(line.split())]
    return lines


# Blanks, digits, scripts, emoji, control characters and whitespace runs that pre-tokenizers treat apart.
HARD_TEXTS = [
    "A",
    " leading and trailing ",
    "double  and   triple    blanks",
    "tabs\tand\nnew lines\n\n\n",
    "I'll, you've, WE'RE, don't",
    "1 12 123 1234 12345 3.14159 1,872",
    "café Łódź naïve — “quotes” …",
    "Hello, мир, 世界, こんにちは, مرحبا, नमस्ते",
    "emoji 🦙🚀 and joined 👩‍🔬",
    "snake_case camelCase kebab-case x=y+z; // code",
    "http://example.org/a?b=c&d=e#f",
    "\u00a0no-break\u2003em space\u200bzero width",
    "é composed and é decomposed",
]
