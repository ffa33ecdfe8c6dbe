//! The embedded desk data: a regression fixture for the evaluation code, written for this project, in the
//! schemas of the public data sets of the same names. Too small to rank models by.

/// Name and JSON Lines of every embedded dataset, in alphabetical order.
pub const DATASETS: [(&str, &str); 2] = [
    ("arc_easy", include_str!("../desk/arc_easy.jsonl")),
    ("wikitext", include_str!("../desk/wikitext.jsonl")),
];

/// The JSON Lines of one embedded dataset.
pub fn get(stem: &str) -> Option<&'static str> {
    DATASETS.iter().find(|(name, _)| *name == stem).map(|(_, text)| *text)
}
