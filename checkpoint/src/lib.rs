//! What a model is on disk: safetensors, GGUF, config and tokenizer.
