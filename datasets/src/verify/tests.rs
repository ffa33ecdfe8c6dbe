use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::catalogue::Catalogue;

fn question(id: usize) -> Value {
    json!({"id": format!("Q{id}"), "question": format!("q{id}?"), "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"})
}

/// Writes rows as arc_easy-test.jsonl, checks it as if `published` rows were, and shows problems and notes.
fn check(rows: &[Value], published: usize, folder: &TempDir) -> String {
    let path = folder.path().join("arc_easy-test.jsonl");
    fs::write(&path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    let entry = Catalogue::embedded().get("arc_easy").unwrap();
    let split = Split { files: vec![], rows: Some(published), content: None };
    let report = verify(entry, &[("test", &split)], &[path]);
    let lines = [report.problems, report.notes.iter().map(|note| format!("note: {note}")).collect()].concat();
    lines.join("\n").replace(&folder.path().display().to_string(), "DIR")
}

#[test]
fn rows_and_columns_are_compared_with_the_catalogue() {
    let folder = TempDir::new().unwrap();
    assert_eq!(check(&[question(1), question(2)], 2, &folder), "");
    insta::assert_snapshot!(check(&[question(1), question(2)], 3, &folder), @"2 rows, published are 3 (test)");
    let mut bad = question(3);
    bad["answerKey"] = json!(1);
    let mut without = question(4);
    without.as_object_mut().unwrap().remove("choices");
    let mut number = question(5);
    number["id"] = json!(5);
    insta::assert_snapshot!(check(&[question(1), bad.clone(), without, number, bad], 5, &folder), @r#"
    row 2: column 'answerKey' is not a text: 1
    row 3: column 'choices' is missing; there are id, question, answerKey
    row 4: column 'id' is not a text: 5
    and so on, 4 rows in all
    note: repeated values of 'id': "Q3" (1 in all)
    note: repeated rows: 1
    "#);
}

#[test]
fn repeated_ids_and_rows_are_noted() {
    let folder = TempDir::new().unwrap();
    let mut other = question(1);
    other["question"] = json!("another?");
    insta::assert_snapshot!(check(&[question(1), question(2), other, question(2)], 4, &folder), @r#"
    note: repeated values of 'id': "Q1", "Q2" (2 in all)
    note: repeated rows: 1
    "#);
}

#[test]
fn checksums_beside_the_file_are_compared() {
    let folder = TempDir::new().unwrap();
    let sums = folder.path().join(SUMS);
    let rows = [question(1)];
    let digest = sha256(format!("{}\n", rows[0]).as_bytes());
    for line in
        [format!("{digest}  arc_easy-test.jsonl"), format!("{} *arc_easy-test.jsonl", digest.to_uppercase())]
    {
        fs::write(&sums, format!("{}  another\n{line}\n", "0".repeat(64))).unwrap();
        assert_eq!(check(&rows, 1, &folder), "");
    }
    fs::write(&sums, format!("{}  arc_easy-test.jsonl\n", "0".repeat(64))).unwrap();
    insta::assert_snapshot!(check(&rows, 1, &folder).replace(&digest, "FOUND"), @"DIR/arc_easy-test.jsonl has the SHA-256 FOUND, SHA256SUMS says 0000000000000000000000000000000000000000000000000000000000000000");
    fs::write(&sums, "12345  arc_easy-test.jsonl\n").unwrap();
    insta::assert_snapshot!(check(&rows, 1, &folder), @"DIR/SHA256SUMS: '12345' is no SHA-256");
}

#[test]
fn the_hubs_cache_names_large_files_by_their_checksum() {
    let folder = TempDir::new().unwrap();
    let (blob, link) = (folder.path().join("f".repeat(64)), folder.path().join("test.jsonl"));
    fs::write(&blob, "{\"text\": \"a\"}\n").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&blob, &link).unwrap();
    #[cfg(not(unix))]
    return;
    let entry = Catalogue::embedded().get("lambada_openai").unwrap();
    let split = Split { files: vec![], rows: None, content: None };
    let report = verify(entry, &[("test", &split)], &[link]);
    assert!(report.files[0].checked);
    assert!(report.problems[0].contains("the cache says ffff"), "{:?}", report.problems);
}

#[test]
fn the_digest_is_of_the_content_not_of_the_file() {
    let entry = Catalogue::embedded().get("arc_easy").unwrap();
    let other: Value = serde_json::from_str(
        r#"{"answerKey": "A", "more": 1, "choices": {"label": ["A", "B"], "text": ["a", "b"]}, "question": "q1?"}"#,
    )
    .unwrap();
    let digest = content_digest(entry, &[question(1)]);
    assert_eq!(content_digest(entry, &[other]), digest);
    // printf '{"question":"q1?","choices":{"text":["a","b"],"label":["A","B"]},"answerKey":"A"}\n' | sha256sum
    insta::assert_snapshot!(digest, @"bedd698b65685c9c49801bd4ef259fd3d98d0deb092b62ad11ed42522d63c7aa");
    assert_ne!(content_digest(entry, &[question(2)]), digest);
}

#[test]
fn a_file_without_a_split_in_its_name_is_of_one_of_them() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("arc_easy.jsonl");
    fs::write(&path, format!("{}\n", question(1))).unwrap();
    let entry = Catalogue::embedded().get("arc_easy").unwrap();
    let problems = |splits: [Split; 2]| {
        verify(entry, &[("train", &splits[0]), ("test", &splits[1])], std::slice::from_ref(&path))
            .problems
            .join("\n")
    };
    let split =
        |rows, content: Option<&str>| Split { files: vec![], rows, content: content.map(str::to_owned) };
    let digest = content_digest(entry, &[question(1)]);
    insta::assert_snapshot!(problems([split(Some(3), None), split(Some(2), None)]), @"1 rows, published are 3 (train), 2 (test)");
    assert_eq!(problems([split(Some(1), None), split(Some(2), Some("x"))]), "");
    assert_eq!(problems([split(Some(1), Some("x")), split(Some(1), Some(&digest))]), "");
    insta::assert_snapshot!(problems([split(Some(1), Some("x")), split(Some(2), Some(&digest))]), @"the content has the digest bedd698b65685c9c49801bd4ef259fd3d98d0deb092b62ad11ed42522d63c7aa, the published text x");
}

#[test]
fn what_cannot_be_read_is_a_problem() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.jsonl");
    fs::write(&path, "{").unwrap();
    let entry = Catalogue::embedded().get("piqa").unwrap();
    let split = entry.splits.get("test").unwrap();
    let report = verify(entry, &[("test", split)], std::slice::from_ref(&path));
    insta::assert_snapshot!(report.problems.join("\n").replace(&folder.path().display().to_string(), "DIR"), @r"
    DIR/a.jsonl, line 1: EOF while parsing an object at column 1
    hint: a .jsonl file holds one JSON object per line
    ");
    fs::remove_file(&path).unwrap();
    assert_eq!(verify(entry, &[("test", split)], &[path]).problems.len(), 2);
}
