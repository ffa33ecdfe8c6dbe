//! Copies of the published benchmarks, where they are at hand: all load, and have the catalogue's columns and rows.

use std::path::{Path, PathBuf};

use b158_datasets::verify::{content_digest, verify};
use b158_datasets::{Catalogue, DataSource, layout, read};

/// The folder with copies of public data, or `None` (and a message) where it is absent.
fn copies() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: no copies of public data here");
    None
}

#[test]
fn every_task_loads_with_its_columns() {
    let Some(copies) = copies() else { return };
    let source = DataSource::folder(copies.join("eval-jsonl"));
    for (name, split, rows) in [
        ("arc_easy", "test", 2376),
        ("arc_challenge", "test", 1172),
        ("hellaswag", "validation", 10042),
        ("boolq", "validation", 3270),
        ("openbookqa", "test", 500),
        ("piqa", "validation", 1838),
        ("winogrande", "validation", 1267),
        ("lambada_openai", "test", 5153),
        ("wikitext", "test", 62),
        ("wikitext", "validation", 60),
    ] {
        let entry = Catalogue::embedded().get(name).unwrap();
        let data = source.load(name, split).unwrap();
        assert_eq!(data.rows.len(), rows, "{name}");
        for row in &data.rows {
            assert_eq!(entry.columns.misfit(row.as_object().unwrap()), None, "{}", data.origin);
        }
        let files = source.find(name, split).unwrap();
        let report = verify(entry, &[(split, entry.splits.get(split).unwrap())], &files);
        assert_eq!(report.problems, [""; 0], "{name}");
    }
}

#[test]
fn boolq_of_super_glue_goes_before_google_s() {
    let Some(copies) = copies() else { return };
    let boolq = DataSource::folder(copies.join("eval-jsonl")).load("boolq", "validation").unwrap();
    let passage = boolq.rows[0]["passage"].as_str().unwrap();
    assert!(passage.starts_with("Ethanol fuel -- All biomass"), "{passage}");

    let entry = Catalogue::embedded().get("boolq").unwrap();
    let file = copies.join("eval-jsonl/boolq-validation.jsonl");
    let split = entry.splits.get("validation").unwrap();
    let report = verify(entry, &[("validation", split)], std::slice::from_ref(&file));
    assert_eq!((report.problems.len(), report.notes.len()), (0, 1), "{report:?}");
    assert!(report.notes[0].contains("without titles"));
    let google = layout::normalize(entry, "boolq", read::rows(&file).unwrap()).unwrap();
    for (a, b) in google.iter().zip(&boolq.rows) {
        assert_eq!((&a["label"], &a["question"]), (&b["label"], &b["question"]));
    }
}

#[test]
fn lines_of_wikitext_become_the_pages() {
    let Some(copies) = copies() else { return };
    let entry = Catalogue::embedded().get("wikitext").unwrap();
    for (split, lines, raw, pages) in [
        ("test", "hf-rows/test.jsonl", "wiki.test.raw", "wikitext-2-test.documents.jsonl"),
        ("validation", "hf-rows/validation.jsonl", "wiki.valid.raw", "wikitext-2-valid.documents.jsonl"),
    ] {
        let pages = read::rows(&copies.join("eval-jsonl").join(pages)).unwrap();
        let lines = read::rows(&copies.join("wikitext-2").join(lines)).unwrap();
        let raw = read::rows(&copies.join("wikitext-2").join(raw)).unwrap();
        assert!(raw == lines, "{split}: lines of the raw file are the Hub's rows");
        let joined = layout::normalize(entry, split, lines.clone()).unwrap();
        assert!(joined == pages, "{split}: {} and {} pages", joined.len(), pages.len());

        let known = |name: &str| {
            let entry = Catalogue::embedded().get(name).unwrap();
            (entry, entry.splits.get(split).unwrap().content.clone().unwrap_or_default())
        };
        let (entry, digest) = known("wikitext");
        assert_eq!(content_digest(entry, &pages), digest);
        let (entry, digest) = known("wikitext_rows");
        assert_eq!(content_digest(entry, &lines), digest);
    }
}
