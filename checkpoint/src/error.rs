//! Everything that can be wrong with a model on disk.

use std::path::{Path, PathBuf};

/// An error of opening, reading or writing a checkpoint.
///
/// The first line says what is wrong and names the file; where there is a remedy, a second line
/// starts with `hint:`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {source}\nhint: {}", file.display(), io_hint(source))]
    Io {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The path is neither a model's folder nor a file of a known format.
    #[error(
        "{}: not a checkpoint\nhint: give a Hugging Face folder (config.json and *.safetensors), a .safetensors file beside its config.json, or a .gguf file",
        file.display()
    )]
    NotACheckpoint {
        /// The path.
        file: PathBuf,
    },
    /// A folder without weights.
    #[error(
        "{}: the folder has neither model.safetensors nor model.safetensors.index.json\nhint: {hint}",
        file.display()
    )]
    NoWeights {
        /// The folder.
        file: PathBuf,
        /// What the folder holds instead and what to do about it.
        hint: &'static str,
    },
    /// Weights without their config.
    #[error("{}: there is no such file\nhint: the model's config.json must lie beside its weights", file.display())]
    NoConfig {
        /// Where config.json would be.
        file: PathBuf,
    },
    /// Weights as a Python pickle, which may run code when it is read.
    #[error(
        "{}: the weights are a Python pickle, which can run any code when it is opened, so it is refused\nhint: write them as safetensors: {}",
        file.display(), pickle_command(file)
    )]
    Pickle {
        /// The pickle.
        file: PathBuf,
    },
    /// The index names a shard that is not there.
    #[error(
        "{}: the shard `{shard}` is missing\nhint: download the checkpoint again; every shard that the index names is needed",
        file.display()
    )]
    MissingShard {
        /// The index.
        file: PathBuf,
        /// The shard's name.
        shard: String,
    },
    /// The file ends too early.
    #[error(
        "{}: the file is cut short: {part} needs {needed} bytes, but the file has {actual}\nhint: the download or copy is incomplete; fetch the file again",
        file.display()
    )]
    Truncated {
        /// The file.
        file: PathBuf,
        /// The part that does not fit.
        part: String,
        /// The size of the file, in bytes, that would hold the part.
        needed: u64,
        /// The file's size in bytes.
        actual: u64,
    },
    /// The file breaks its format's rules.
    #[error("{}: {reason}\nhint: the file is damaged or was written by a faulty program; fetch or convert it again", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Which rule it breaks.
        reason: String,
    },
    /// A JSON file that is not JSON.
    #[error("{}: not valid JSON: {source}\nhint: the file is damaged; fetch it again", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// Line, column and cause.
        source: serde_json::Error,
    },
    /// The config lacks a key that has no default.
    #[error("{}: the key `{key}` is missing\nhint: add it; without it the model's shape or arithmetic is unknown", file.display())]
    MissingKey {
        /// The config, or the GGUF file.
        file: PathBuf,
        /// The key.
        key: String,
    },
    /// A config value outside its range or of the wrong type.
    #[error("{}: `{key}` is {value}\nhint: {valid}", file.display())]
    BadValue {
        /// The config, or the GGUF file.
        file: PathBuf,
        /// The key.
        key: String,
        /// What it holds.
        value: String,
        /// What it may hold.
        valid: &'static str,
    },
    /// An architecture that this crate does not know.
    #[error("{}: the architecture `{found}` is not supported\nhint: supported are {supported}", file.display())]
    UnknownArchitecture {
        /// The config, or the GGUF file.
        file: PathBuf,
        /// What the file asks for.
        found: String,
        /// What there is.
        supported: &'static str,
    },
    /// A GGUF file of architecture `bitnet` that may be of either of two models with different
    /// activations.
    #[error(
        "{}: the key `{key}` is missing: with this rotary base the architecture stands for models with different activations\nhint: say which it is, `silu` (1bitLLM's models) or `relu2` (BitNet b1.58 2B4T), with --activation of `b158 convert`, or convert the model from its Hugging Face folder",
        file.display()
    )]
    UnknownActivation {
        /// The GGUF file.
        file: PathBuf,
        /// The key.
        key: String,
    },
    /// A feature that would change the results if it were ignored.
    #[error("{}: {feature} is not supported yet\nhint: {hint}", file.display())]
    Unsupported {
        /// The file that asks for it.
        file: PathBuf,
        /// The feature.
        feature: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// A tensor that the config demands is not in the file.
    #[error(
        "{}: the tensor `{tensor}` is missing\nhint: the config asks for it; check that config and weights belong together and that no shard was left out",
        file.display()
    )]
    MissingTensor {
        /// The weights, or their index.
        file: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
    },
    /// A tensor's shape contradicts the config.
    #[error(
        "{}: tensor `{tensor}` has shape {found:?}, but the config implies {expected:?}\nhint: config and weights do not belong together, or the architecture is another one",
        file.display()
    )]
    WrongShape {
        /// The weights.
        file: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// The shape in the file, rows first.
        found: Vec<usize>,
        /// The shape that the config implies, rows first.
        expected: Vec<usize>,
    },
    /// A tensor's element type is none that this crate reads.
    #[error("{}: tensor `{tensor}` has the type {found}\nhint: supported are F32, F16, BF16, Q8_0, Q6_K, TQ1_0, TQ2_0, Q2_0, Q1_0 and I2_S, and packed U8 where config.json says so", file.display())]
    UnsupportedType {
        /// The weights.
        file: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// Its type.
        found: String,
    },
    /// A tensor's data starts at an address at which its elements cannot be read.
    #[error(
        "{}: tensor `{tensor}` starts at byte {offset}, which is not a multiple of its element size\nhint: save the file again with a current version of safetensors, which aligns tensors",
        file.display()
    )]
    Misaligned {
        /// The weights.
        file: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// Where its data starts in the file.
        offset: u64,
    },
    /// Two tensors, or two metadata entries, with one name.
    #[error("{}: the {what} `{name}` occurs twice\nhint: it is unclear which one counts; write the file again", file.display())]
    Duplicate {
        /// The file.
        file: PathBuf,
        /// `tensor` or `key`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A packed tensor where full precision is needed.
    #[error(
        "{}: tensor `{tensor}` has the type {dtype}, but full precision is needed here\nhint: use the full-precision checkpoint that the file was made from",
        file.display()
    )]
    NotDense {
        /// The weights.
        file: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// Its type.
        dtype: &'static str,
    },
    /// The checkpoint has no tokenizer that this crate reads.
    #[error("{}: there is no tokenizer\nhint: {hint}", file.display())]
    NoTokenizer {
        /// The folder, or the GGUF file.
        file: PathBuf,
        /// Where one is looked for.
        hint: &'static str,
    },
    /// The tokenizer is damaged, or it failed on a text.
    #[error("{}: tokenizer: {reason}\nhint: fetch tokenizer.json again; it must be one that the Python package `tokenizers` loads", file.display())]
    Tokenizer {
        /// The tokenizer's file.
        file: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// The tokenizer knows ids that the model has no embedding for.
    #[error(
        "{}: the tokenizer has token ids up to {largest}, but the model's vocabulary ends at {}\nhint: this tokenizer belongs to another model",
        file.display(), vocab_size - 1
    )]
    VocabularyTooLarge {
        /// The tokenizer's file.
        file: PathBuf,
        /// The tokenizer's largest id.
        largest: u32,
        /// Rows of the model's embedding.
        vocab_size: usize,
    },
    /// The chat template is damaged, refuses the conversation, or asks for more than a template may use.
    #[error("{}: chat template: {reason}\nhint: {hint}", file.display())]
    ChatTemplate {
        /// Where the template comes from.
        file: PathBuf,
        /// What went wrong, with the line where it is known.
        reason: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// The writer was asked for a file that would break the format.
    #[error("cannot write {format}: {reason}")]
    Write {
        /// `GGUF` or `safetensors`.
        format: &'static str,
        /// Which rule it would break.
        reason: String,
    },
}

/// The command that writes a pickle's tensors as safetensors, without running what the pickle asks for.
fn pickle_command(file: &Path) -> String {
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    if stem.contains("-of-") {
        // One of several files: transformers joins them.
        let target = format!("{}-safetensors", folder.display());
        return format!(
            "python3 -c 'import sys; from transformers import AutoModelForCausalLM as M; M.from_pretrained(sys.argv[1], torch_dtype=\"auto\").save_pretrained(sys.argv[2])' {} {}",
            quoted(&folder.display().to_string()),
            quoted(&target)
        );
    }
    let name =
        if stem == "pytorch_model" { "model.safetensors".into() } else { format!("{stem}.safetensors") };
    format!(
        "python3 -c 'import sys, torch, safetensors.torch as s; s.save_file({{k: v.clone().contiguous() for k, v in torch.load(sys.argv[1], map_location=\"cpu\", weights_only=True).items()}}, sys.argv[2], {{\"format\": \"pt\"}})' {} {}",
        quoted(&file.display().to_string()),
        quoted(&folder.join(name).display().to_string())
    )
}

/// As one word of a shell's command line.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn io_hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "check the path",
        std::io::ErrorKind::PermissionDenied => "check the permissions",
        _ => "check the path and the disk",
    }
}

impl Error {
    pub(crate) fn io(file: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Io { file, source }
    }

    pub(crate) fn json(file: &Path) -> impl FnOnce(serde_json::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Json { file, source }
    }

    pub(crate) fn malformed(file: &Path, reason: impl Into<String>) -> Self {
        Self::Malformed { file: file.to_owned(), reason: reason.into() }
    }

    pub(crate) fn missing_key(file: &Path, key: impl Into<String>) -> Self {
        Self::MissingKey { file: file.to_owned(), key: key.into() }
    }

    pub(crate) fn unsupported(file: &Path, feature: impl Into<String>, hint: &'static str) -> Self {
        Self::Unsupported { file: file.to_owned(), feature: feature.into(), hint }
    }
}

/// Text out of a file, fit for a message: invisible characters escaped, at most 80 characters.
pub(crate) fn printable(text: &str) -> String {
    printable_start(text, 80)
}

/// The same, with at most `limit` characters.
pub(crate) fn printable_start(text: &str, limit: usize) -> String {
    let mut chars = text.chars();
    let mut out = String::new();
    for c in chars.by_ref().take(limit) {
        match c {
            '"' | '\'' | '\\' => out.push(c),
            c => out.extend(c.escape_debug()),
        }
    }
    if chars.next().is_some() {
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{pickle_command, printable, quoted};

    #[test]
    fn commands_can_be_pasted() {
        assert_eq!(quoted("a/b-1.bin"), "a/b-1.bin");
        assert_eq!(quoted("it's here"), r"'it'\''s here'");
        let command = pickle_command("m/pytorch_model.bin".as_ref());
        assert!(command.ends_with(" m/pytorch_model.bin m/model.safetensors"), "{command}");
        let command = pickle_command("x.pt".as_ref());
        assert!(command.ends_with(" x.pt ./x.safetensors"), "{command}");
        let command = pickle_command("m/pytorch_model-00001-of-00002.bin".as_ref());
        assert!(command.contains("transformers") && command.ends_with(" m m-safetensors"), "{command}");
    }

    #[test]
    fn hostile_names_cannot_reach_the_terminal() {
        assert_eq!(printable("blk.0.attn_q.weight"), "blk.0.attn_q.weight");
        assert_eq!(printable("a\u{1b}[31m\n"), "a\\u{1b}[31m\\n");
        assert_eq!(printable("\"a\u{202e}b\""), "\"a\\u{202e}b\"");
        assert_eq!(printable(&"x".repeat(1000)).len(), 83);
    }
}
