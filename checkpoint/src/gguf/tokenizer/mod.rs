//! A tokenizer as GGUF metadata: llama.cpp's keys, and the whole tokenizer.json.
//!
//! ```text
//! tokenizer.huggingface.json         the whole tokenizer.json, which counts first
//! tokenizer.ggml.model               llama   BPE by scores over characters (SentencePiece)
//!                                    gpt2    byte-level BPE by a merge list
//!                                    bert    WordPiece                      no_vocab   none
//! tokenizer.ggml.pre                 how gpt2 splits a text: llama-bpe, qwen2, ...
//! tokenizer.ggml.tokens              texts, one for each row of the embedding
//! tokenizer.ggml.token_type          1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
//! tokenizer.ggml.scores              llama: the highest merges first
//! tokenizer.ggml.merges              gpt2: "left right", the first merges first
//! tokenizer.ggml.{bos,eos,unknown,padding,cls,seperator}_token_id           (llama.cpp's spelling)
//! tokenizer.ggml.{add_bos_token,add_eos_token,add_space_prefix,remove_extra_whitespaces}
//! tokenizer.chat_template
//! ```
//!
//! Rows of the embedding without a token are unused tokens `[PAD7]`: llama.cpp wants as many tokens as
//! rows. Names as in gguf-py's `constants.py`, meaning as in llama.cpp's `llama-vocab.cpp`.

mod read;
mod write;

pub(crate) use read::padding_token;
pub use read::{chat_template, tokenizer_json};
pub use write::{TokenizerMetadata, TokenizerText, to_gguf};

const HUGGING_FACE_JSON: &str = "tokenizer.huggingface.json";
const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";
pub(super) const BOS_TOKEN: &str = "tokenizer.ggml.bos_token_id";
pub(super) const EOS_TOKEN: &str = "tokenizer.ggml.eos_token_id";
pub(super) const EOT_TOKEN: &str = "tokenizer.ggml.eot_token_id";
const UNKNOWN_TOKEN: &str = "tokenizer.ggml.unknown_token_id";
const PADDING_TOKEN: &str = "tokenizer.ggml.padding_token_id";
const CLS_TOKEN: &str = "tokenizer.ggml.cls_token_id";
const SEPARATOR_TOKEN: &str = "tokenizer.ggml.seperator_token_id";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
const REMOVE_EXTRA_WHITESPACES: &str = "tokenizer.ggml.remove_extra_whitespaces";
const LOWERCASE: &str = "tokenizer.ggml.normalizer.lowercase";
/// `tokenizer.ggml.model` of a file without a tokenizer.
const NO_VOCABULARY: &str = "no_vocab";
