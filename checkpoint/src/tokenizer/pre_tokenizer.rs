//! How byte-level BPE splits a text before it merges: llama.cpp's names of pre-tokenizers.
//!
//! A pre-tokenizer is a list of regular expressions. Each cuts the pieces that the one before left:
//! what it matches becomes pieces, and so does what lies between.
//!
//! ```text
//! "year 2024!"   \p{N}{1,3}   "year " "202" "4" "!"   \s?\p{L}+   "year" " " "202" "4" "!"
//! ```
//!
//! The expressions are those of the models' own tokenizer.json where llama.cpp adapts them to its
//! engine; the names are those of `llama-vocab.cpp`.

use serde_json::{Value, json};

/// A pre-tokenizer and what its name says beside it.
#[derive(Debug)]
pub(crate) struct PreTokenizer {
    /// `tokenizer.ggml.pre`; the first is the one that we write.
    pub(crate) names: &'static [&'static str],
    pub(crate) splits: &'static [&'static str],
    /// A piece that is a token is not merged.
    pub(crate) ignore_merges: bool,
    /// Whether a text begins with the beginning token unless the file says otherwise.
    pub(crate) add_bos: bool,
}

/// GPT-2's expression, which is also that of `ByteLevel` in a tokenizer.json.
const GPT2_WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN_WORDS: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O_WORDS: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3_WORDS: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
/// ASCII punctuation and Unicode's: `Punctuation` in a tokenizer.json.
const PUNCTUATION: &str = r"[\p{P}$+<=>\^~|`]+";
const DIGIT: &str = r"\p{N}";
const DIGITS: &str = r"\p{N}+";
const THREE_DIGITS: &str = "[0-9][0-9][0-9]";
const LINE_ENDS: &str = r"[\r\n]";
const HAN_AND_HANGUL: &str = r"[\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+";
/// Letters that have a case, as DeepSeek's first tokenizer lists them.
const CASED_WORD: &str = concat!(
    r"\s?[",
    r"\x{41}-\x{5A}\x{61}-\x{7A}\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}",
    r"\x{1C4}-\x{293}\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}",
    r"\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}",
    r"\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}",
    r"\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}",
    r"\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}",
    r"\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}",
    r"\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}",
    r"\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}",
    r"\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}",
    r"\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}",
    r"\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}",
    r"\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}",
    r"\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}",
    r"\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}",
    r"\x{1E900}-\x{1E943}",
    "]+"
);

pub(crate) const LLAMA3: PreTokenizer = PreTokenizer {
    names: &[
        "llama-bpe",
        "llama3",
        "llama-v3",
        "falcon3",
        "falcon-h1",
        "pixtral",
        "midm-2.0",
        "lfm2",
        "jina-v5-nano",
    ],
    splits: &[LLAMA3_WORDS],
    ignore_merges: true,
    add_bos: true,
};

pub(crate) const GPT2: PreTokenizer = plain(
    &[
        "gpt-2",
        "phi-2",
        "mpt",
        "olmo",
        "jais",
        "roberta-bpe",
        "jina-es",
        "jina-de",
        "jina-v1-en",
        "jina-v2-es",
        "jina-v2-de",
        "jina-v2-code",
        "gigachat",
        "a.x-4.0",
        "mellum",
        "modern-bert",
        "trillion",
        "granite-docling",
        "exaone4",
    ],
    &[GPT2_WORDS],
);

pub(crate) const DEFAULT: PreTokenizer =
    plain(&["default"], &[r"[\p{P}$+<=>\^~|]+", GPT2_WORDS, DIGITS, THREE_DIGITS]);

const ALL: &[PreTokenizer] = &[
    LLAMA3,
    plain(&["smaug-bpe", "dbrx", "glm4", "chatglm-bpe"], &[LLAMA3_WORDS]),
    plain(
        &[
            "qwen2",
            "deepseek-r1-qwen",
            "stablelm2",
            "hunyuan",
            "megrez",
            "kormo",
            "f2llmv2",
            "solar-open",
            "grok-2",
        ],
        &[QWEN2_WORDS],
    ),
    GPT2,
    plain(
        &["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
        &[DIGIT, GPT2_WORDS],
    ),
    plain(&["falcon"], &[PUNCTUATION, GPT2_WORDS, THREE_DIGITS]),
    PreTokenizer { names: &["tekken"], splits: &[TEKKEN_WORDS], ignore_merges: true, add_bos: true },
    plain(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[GPT4O_WORDS]),
    plain(
        &["deepseek-llm"],
        &[
            LINE_ENDS,
            CASED_WORD,
            r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+",
            r"\s+$",
            HAN_AND_HANGUL,
            DIGITS,
        ],
    ),
    plain(&["deepseek-coder"], &[LINE_ENDS, r"\s?\p{L}+", r"\s?\p{P}+", HAN_AND_HANGUL, DIGIT]),
    plain(
        &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        &[r"\p{N}{1,3}", r"[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+", DEEPSEEK3_WORDS],
    ),
    DEFAULT,
];

const fn plain(names: &'static [&'static str], splits: &'static [&'static str]) -> PreTokenizer {
    PreTokenizer { names, splits, ignore_merges: false, add_bos: false }
}

/// The pre-tokenizer that llama.cpp calls so.
pub(crate) fn by_name(name: &str) -> Option<&'static PreTokenizer> {
    ALL.iter().find(|p| p.names.contains(&name))
}

/// A step of a tokenizer.json that cuts out what an expression matches.
pub(super) fn split(regex: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
}

/// The pre-tokenizer with the steps of a tokenizer.json, preferably with that `ignore_merges`.
pub(crate) fn recognize(json: &Value, ignore_merges: bool) -> Option<&'static PreTokenizer> {
    let mut splits = Vec::new();
    collect(json, &mut splits)?;
    let same = |p: &&PreTokenizer| {
        p.splits.len() == splits.len()
            && p.splits.iter().zip(&splits).all(|(a, b)| canonical(a) == canonical(b))
    };
    ALL.iter().filter(same).min_by_key(|p| p.ignore_merges != ignore_merges)
}

/// The expressions of a tokenizer.json's steps; `None` for a step that is none.
fn collect(json: &Value, splits: &mut Vec<String>) -> Option<()> {
    let flag = |key: &str, default: bool| json[key].as_bool().unwrap_or(default);
    match json["type"].as_str()? {
        "Sequence" => {
            for step in json["pretokenizers"].as_array()? {
                collect(step, splits)?;
            }
        }
        "ByteLevel" if !flag("add_prefix_space", true) => {
            if flag("use_regex", true) {
                splits.push(GPT2_WORDS.to_owned());
            }
        }
        // To remove all that does not match leaves the same pieces, as the expressions cover every text.
        "Split" if json["behavior"] == if flag("invert", false) { "Removed" } else { "Isolated" } => {
            splits.push(json["pattern"]["Regex"].as_str()?.to_owned());
        }
        "Digits" => splits.push(if flag("individual_digits", false) { DIGIT } else { DIGITS }.to_owned()),
        "Punctuation" if json["behavior"] == "Contiguous" => splits.push(PUNCTUATION.to_owned()),
        _ => return None,
    }
    Some(())
}

/// Spellings of one expression: without regard to case by a flag or by classes, escapes that are
/// none, white space at the end matched or left over.
fn canonical(regex: &str) -> String {
    let regex = regex
        .replace("(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", "(?i:'s|'t|'re|'ve|'m|'ll|'d)")
        .replace(r"\$\+<=>\^~\|", r"$+<=>\^~|");
    match regex.strip_suffix(r"|\s+(?!\S)|\s+") {
        Some(rest) => format!(r"{rest}|\s+(?!\S)"),
        None => regex,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_steps_are_recognized() {
        let names: Vec<_> = ALL.iter().flat_map(|p| p.names).collect();
        assert!(names.iter().enumerate().all(|(i, name)| !names[..i].contains(name)));
        for p in ALL {
            let steps: Vec<_> = p.splits.iter().map(|regex| split(regex)).collect();
            let json = json!({"type": "Sequence", "pretokenizers": steps});
            assert_eq!(recognize(&json, p.ignore_merges).unwrap().names, p.names);
        }
    }

    #[test]
    fn steps_of_published_tokenizers() {
        let name = |json: Value| recognize(&json, false).map(|p| p.names[0]);
        let byte_level =
            |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": use_regex});
        assert_eq!(name(byte_level(true)), Some("gpt-2"));
        let digits = json!({"type": "Digits", "individual_digits": true});
        assert_eq!(
            name(json!({"type": "Sequence", "pretokenizers": [digits, byte_level(true)]})),
            Some("starcoder")
        );
        let punctuation = json!({"type": "Punctuation", "behavior": "Contiguous"});
        let falcon = json!({"type": "Sequence", "pretokenizers": [punctuation, byte_level(true), split(THREE_DIGITS)]});
        assert_eq!(name(falcon), Some("falcon"));
        let mut qwen = split(QWEN2_WORDS);
        (qwen["behavior"], qwen["invert"]) = ("Removed".into(), true.into());
        assert_eq!(
            name(json!({"type": "Sequence", "pretokenizers": [qwen, byte_level(false)]})),
            Some("qwen2")
        );
        assert_eq!(name(split("[a-z]+")), None);
        assert_eq!(name(json!({"type": "Whitespace"})), None);
        assert_eq!(name(Value::Null), None);
    }
}
