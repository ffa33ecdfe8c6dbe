//! The one place where rows become rows of the catalogue's columns.
//!
//! Benchmarks go round in several forms. What a task expects is the form of the Hub's repository that
//! lm-evaluation-harness reads; rows of these other forms are converted when they are read:
//!
//! ```text
//!   ai2_release       {question: {stem, choices: [{label, text}, ...]}, answerKey}    the authors' JSON Lines of ARC
//!                     --> question or question_stem, choices: {text: [..], label: [..]}         and OpenBookQA
//!   boolq_release     {question, passage, answer: true}            google/boolq, and the authors' JSON Lines, which
//!                     --> label: 1; a `title` goes before the passage,                   have a title: "T -- passage"
//!                     as in SuperGLUE
//!   hellaswag_query   {query: "Activity: context", choices: [..], gold: 3}             llama.cpp's and others' lists
//!                     --> activity_label, ctx_a, ctx_b: "", endings, label: "3"
//!   wikitext_rows     {text: " = Title = \n"}                      Salesforce/wikitext, and lines of wiki.test.raw
//!                     --> pages, each from a title on to the next
//! ```
//!
//! A file is in another form if its first row has that form's columns and lacks the catalogue's. Without titles
//! BoolQ's prompts are not those of SuperGLUE, and scores differ a little; text that came preprocessed stays so.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Error;
use crate::catalogue::Entry;

/// Another form of a dataset's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// The question is an object.
    Ai2Release,
    /// The answer is a boolean.
    BoolqRelease,
    /// Activity and context are one text.
    HellaswagQuery,
    /// Lines of pages.
    WikitextRows,
}

/// Columns in which lists of HellaSwag have activity and context.
const QUERIES: [&str; 2] = ["query", "query_lmeval_recovered"];

impl Layout {
    /// What was done to rows of the form, and what it means for scores.
    pub fn remark(self) -> &'static str {
        match self {
            Self::Ai2Release => "converted from the authors' form",
            Self::BoolqRelease => {
                "converted from google/boolq's form; passages without titles make other prompts than SuperGLUE's"
            }
            Self::HellaswagQuery => "converted from a list of queries, which somebody preprocessed",
            Self::WikitextRows => "joined from lines",
        }
    }

    fn is_of(self, row: &Map<String, Value>) -> bool {
        let has = |name: &str| row.contains_key(name);
        match self {
            Self::Ai2Release => row.get("question").is_some_and(Value::is_object),
            Self::BoolqRelease => has("answer") && !has("label"),
            Self::HellaswagQuery => QUERIES.into_iter().any(has) && !has("endings"),
            Self::WikitextRows => has("text") && !has("page"),
        }
    }
}

/// The form of a file's rows, if it is another one than the catalogue's.
pub fn of(entry: &Entry, rows: &[Value]) -> Option<Layout> {
    let first = rows.first()?.as_object()?;
    entry.layouts.iter().copied().find(|layout| layout.is_of(first))
}

/// Converts rows of another form; others stay as they are. `file` is the name that error messages use.
///
/// # Errors
/// [`Error::Rows`] with the first row that is not of the form of the first one.
pub fn normalize(entry: &Entry, file: &str, rows: Vec<Value>) -> Result<Vec<Value>, Error> {
    let Some(layout) = of(entry, &rows) else { return Ok(rows) };
    let bad = |row: usize, message: &str| Error::Rows {
        file: file.to_owned(),
        message: format!("row {}: {message}", row + 1),
        hint: "its rows have to be like the first one".into(),
    };
    if layout == Layout::WikitextRows {
        let lines =
            rows.iter().enumerate().map(|(i, row)| text(row, "text").ok_or_else(|| bad(i, "no text")));
        return Ok(pages(&lines.collect::<Result<Vec<_>, _>>()?));
    }
    let convert = |row: &Value| match layout {
        Layout::Ai2Release => ai2_release(entry, row),
        Layout::BoolqRelease => boolq_release(row),
        Layout::HellaswagQuery => hellaswag_query(row),
        Layout::WikitextRows => None,
    };
    let rows = rows.iter().enumerate();
    rows.map(|(i, row)| convert(row).ok_or_else(|| bad(i, "not of the form of the first row"))).collect()
}

fn text<'a>(row: &'a Value, name: &str) -> Option<&'a str> {
    row.get(name)?.as_str()
}

fn ai2_release(entry: &Entry, row: &Value) -> Option<Value> {
    let question = row.get("question")?;
    let choices = question.get("choices")?.as_array()?;
    let column = |name| choices.iter().map(|choice| text(choice, name)).collect::<Option<Vec<_>>>();
    let stem = entry.columns.names().next()?;
    let mut out = Map::new();
    if let Some(id) = row.get("id") {
        out.insert("id".into(), id.clone());
    }
    out.insert(stem.into(), text(question, "stem")?.into());
    out.insert("choices".into(), json!({"text": column("text")?, "label": column("label")?}));
    out.insert("answerKey".into(), text(row, "answerKey")?.into());
    Some(out.into())
}

fn boolq_release(row: &Value) -> Option<Value> {
    let mut row = row.as_object()?.clone();
    let label = i64::from(row.get("answer")?.as_bool()?);
    row.insert("label".into(), label.into());
    if let Some(Value::String(title)) = row.shift_remove("title")
        && !title.is_empty()
    {
        let passage = format!("{title} -- {}", row.get("passage")?.as_str()?);
        row.insert("passage".into(), passage.into());
    }
    Some(row.into())
}

fn hellaswag_query(row: &Value) -> Option<Value> {
    let query = QUERIES.iter().rev().find_map(|name| text(row, name))?;
    let (activity, context) = query.split_once(": ")?;
    let endings = row.get("choices")?.as_array()?;
    let gold = row.get("gold")?.as_u64()?.to_string();
    Some(
        json!({"activity_label": activity, "ctx_a": context, "ctx_b": "", "endings": endings, "label": gold}),
    )
}

/// Joins lines to pages as EleutherAI/wikitext_document_level does: a page begins at a heading of the first level,
/// lines are joined by newlines, and pages of blanks are dropped.
///
/// The Hub's rows are the lines of the original file, each with its newline, but for lines of a blank, which are empty.
fn pages(rows: &[&str]) -> Vec<Value> {
    let mut pages = Vec::new();
    let mut page: Vec<&str> = Vec::new();
    let mut finish = |page: &mut Vec<&str>| {
        let text = page.join("\n");
        page.clear();
        if !text.trim().is_empty() {
            pages.push(json!({"page": text}));
        }
    };
    for row in rows {
        let line = if row.is_empty() { " " } else { row.strip_suffix('\n').unwrap_or(row) };
        if is_title(line) {
            finish(&mut page);
        }
        page.push(line);
    }
    // The original file ends in a newline, after which there is one more, empty line.
    page.push("");
    finish(&mut page);
    pages
}

fn is_title(line: &str) -> bool {
    let line = line.replace("= = =", "===").replace("= =", "==");
    let line = line.trim();
    line.starts_with("= ") && line.ends_with(" =")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    fn one(name: &str, row: &Value) -> Result<Value, String> {
        let entry = Catalogue::embedded().get(name).unwrap();
        let mut rows = normalize(entry, "f.jsonl", vec![row.clone()]).map_err(|e| e.to_string())?;
        assert_eq!(rows.len(), 1);
        let row = rows.remove(0);
        assert_eq!(entry.columns.misfit(row.as_object().unwrap()), None);
        Ok(row)
    }

    #[test]
    fn forms_of_the_hub_stay_as_they_are() {
        for (name, row) in [
            ("boolq", json!({"question": "q", "passage": "T -- p", "idx": 0, "label": 1})),
            (
                "arc_easy",
                json!({"question": "q", "choices": {"text": ["x"], "label": ["1"]}, "answerKey": "1"}),
            ),
            ("wikitext", json!({"page": " = T = \n"})),
            ("piqa", json!({"goal": "g", "sol1": "a", "sol2": "b", "label": 0})),
        ] {
            assert_eq!(one(name, &row), Ok(row));
        }
    }

    #[test]
    fn other_forms_are_converted() {
        let release = json!({"id": "1", "question": {"stem": "q?", "choices": [{"text": "x", "label": "A"}, {"text": "y", "label": "B"}]}, "answerKey": "B"});
        insta::assert_snapshot!(one("openbookqa", &release).unwrap(), @r#"{"id":"1","question_stem":"q?","choices":{"text":["x","y"],"label":["A","B"]},"answerKey":"B"}"#);
        insta::assert_snapshot!(one("arc_easy", &release).unwrap(), @r#"{"id":"1","question":"q?","choices":{"text":["x","y"],"label":["A","B"]},"answerKey":"B"}"#);
        let answer = json!({"question": "q", "title": "T", "answer": true, "passage": "p"});
        insta::assert_snapshot!(one("boolq", &answer).unwrap(), @r#"{"question":"q","answer":true,"passage":"T -- p","label":1}"#);
        let query = json!({"i": 0, "query": "Roof: A man: he", "choices": ["a", "b"], "gold": 1});
        insta::assert_snapshot!(one("hellaswag", &query).unwrap(), @r#"{"activity_label":"Roof","ctx_a":"A man: he","ctx_b":"","endings":["a","b"],"label":"1"}"#);
    }

    #[test]
    fn lines_become_pages() {
        let rows = ["", " = One = \n", "", " Text = =\n", " = = Part = = \n", "", " = Two = \n", " more \n"];
        let rows: Vec<Value> = rows.iter().map(|text| json!({"text": text})).collect();
        let entry = Catalogue::embedded().get("wikitext").unwrap();
        let pages = normalize(entry, "f", rows).unwrap();
        insta::assert_snapshot!(serde_json::to_string(&pages).unwrap(), @r#"[{"page":" = One = \n \n Text = =\n = = Part = = \n "},{"page":" = Two = \n more \n"}]"#);
    }

    #[test]
    fn a_row_of_another_form_is_named() {
        let entry = Catalogue::embedded().get("boolq").unwrap();
        let rows = vec![
            json!({"question": "q", "answer": true, "passage": "p"}),
            json!({"question": "q", "answer": "yes", "passage": "p"}),
        ];
        insta::assert_snapshot!(normalize(entry, "b.jsonl", rows).unwrap_err(), @r"
        b.jsonl: row 2: not of the form of the first row
        hint: its rows have to be like the first one
        ");
    }
}
