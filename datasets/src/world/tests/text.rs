use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::*;
use crate::world::{balance::words, facts::world, tables::ACTIONS};

const MB: usize = 1 << 20;

/// A digest that changes means other data: trained models and recipes have to be made anew.
#[test]
fn the_bytes_are_these() {
    let text = [(Part::Train, 0), (Part::Train, 1), (Part::HeldOut, 0)]
        .map(|(part, seed)| format!("{part:?} {seed}: {}", digest(part, seed, MB)));
    let tasks = TASKS.map(|task| format!("{task}: {}", sha256(&dataset(task).unwrap())));
    insta::assert_snapshot!([&text[..], &tasks].concat().join("\n"));
}

#[test]
fn as_many_items_as_promised_and_all_different() {
    for task in TASKS {
        let rows = rows(task);
        assert_eq!(rows.len(), if task == "desk" { PAGES } else { ITEMS }, "{task}");
        let mut content = rows.clone();
        for row in &mut content {
            for number in ["id", "ind", "idx", "source_id"] {
                row.as_object_mut().unwrap().remove(number);
            }
        }
        let different: BTreeSet<String> = content.iter().map(Value::to_string).collect();
        assert_eq!(different.len(), rows.len(), "{task}");
    }
    assert_eq!(dataset("wikitext"), None);
}

#[test]
fn documents_have_the_shape_that_tokenizers_and_files_rely_on() {
    for document in documents(Part::Train, 2).take(3000).chain(documents(Part::HeldOut, 0).take(PAGES)) {
        let count = words(&document).count();
        assert!((60..=200).contains(&count), "{count} words: {document}");
        let marks = document.chars().filter(|c| ".,?:\n".contains(*c)).count();
        assert!(count + marks <= 250, "{document}");
        assert!(document.lines().all(|line| !line.trim().is_empty() && line == line.trim()), "{document}");
        assert!(!document.contains("  "), "{document}");
        let plain = document.replace("Question:", "").replace("Answer:", "");
        assert!(plain.chars().all(|c| c.is_ascii_lowercase() || " .,?:\n".contains(c)), "{document}");
    }
}

#[test]
fn the_vocabulary_is_small_and_the_tasks_stay_within_it() {
    let text = text(Part::Train, 0, 4 * MB);
    let known: BTreeSet<&str> = words(&text).collect();
    assert!(known.len() <= 720, "{}", known.len());
    for task in TASKS.iter().filter(|t| !["desk", "lambada"].contains(t)) {
        for (prompt, choices, _) in choices(task) {
            let prompt = prompt.replace('_', "");
            let all = words(&prompt).chain(choices.iter().flat_map(|c| words(c)));
            let strange: Vec<&str> = all.filter(|w| !known.contains(w)).collect();
            assert!(strange.is_empty(), "{task}: {strange:?}");
        }
    }
}

/// Wherever a word of the text begins, no held-out question, passage, story or sentence does.
#[test]
fn nothing_held_out_is_in_the_training_text() {
    const PREFIX: usize = 16;
    let mut held_out: Vec<String> = Vec::new();
    for task in TASKS {
        held_out.extend(rows(task).iter().flat_map(|row| {
            match task {
                "arc_easy" | "arc_challenge" => vec![string(row, "question").to_owned()],
                "openbookqa" => vec![string(row, "question_stem").to_owned() + " "],
                "hellaswag" => vec![string(row, "ctx").to_owned()],
                "boolq" => vec![string(row, "passage").to_owned()],
                "piqa" => vec![string(row, "goal").to_owned()],
                "winogrande" => ["option1", "option2"]
                    .map(|option| string(row, "sentence").replace('_', string(row, option)))
                    .to_vec(),
                "lambada" => vec![string(row, "text").to_owned()],
                _ => vec![string(row, "page").to_owned()],
            }
        }));
    }
    let mut by_prefix: HashMap<&[u8], Vec<&[u8]>> = HashMap::new();
    for item in &held_out {
        let item = item.as_bytes();
        by_prefix.entry(&item[..PREFIX]).or_default().push(item);
    }
    for seed in [0, 1] {
        let text = text(Part::Train, seed, 10_000_000);
        let bytes = text.as_bytes();
        let starts = (1..bytes.len() - PREFIX).filter(|&i| bytes[i - 1].is_ascii_whitespace());
        for start in std::iter::once(0).chain(starts) {
            let Some(items) = by_prefix.get(&bytes[start..start + PREFIX]) else { continue };
            let found = items.iter().find(|item| bytes[start..].starts_with(item));
            assert!(found.is_none(), "{:?}", String::from_utf8_lossy(found.unwrap()));
        }
    }
}

/// What is done to a held-out thing is done to it nowhere, whoever does it.
#[test]
fn no_held_out_effect_is_in_the_training_text() {
    let events: BTreeSet<String> = rows("openbookqa")
        .iter()
        .filter_map(|row| {
            let stem = string(row, "question_stem");
            let event = &stem[..stem.rfind('.')?];
            let action = ACTIONS.iter().find(|a| {
                event.ends_with(&a.event[a.event.find("{x}").unwrap() + 3..].trim_end_matches('.'))
            })?;
            let verb = action.event.split(' ').nth(2).unwrap();
            let start = event.find(&format!(" {verb} the "))?;
            Some(event[start..].to_owned())
        })
        .collect();
    // Far fewer than items: several people each.
    assert!((20..200).contains(&events.len()), "{}", events.len());
    let text = text(Part::Train, 0, 10_000_000);
    for event in &events {
        assert!(!text.contains(event), "{event}");
    }
    // Others are, in the same words.
    assert!(text.contains(" on the hard floor. the ") && text.contains(" drops the "));
}

#[test]
fn no_document_is_on_both_sides_whatever_the_seeds() {
    let train: HashSet<String> = (0..3).flat_map(|seed| documents(Part::Train, seed).take(5000)).collect();
    let mut held_out = (0..3).flat_map(|seed| documents(Part::HeldOut, seed).take(300));
    assert!(held_out.all(|document| !train.contains(&document)));
    assert!(train.len() > 14_900, "documents repeat: {} of 15000 are different", train.len());
}

#[test]
fn files_hold_whole_documents_and_no_more_than_asked() {
    for bytes in [0, 1, 700, 5000] {
        let text = text(Part::Train, 7, bytes);
        assert!(text.len() <= bytes);
        let expected: Vec<String> = documents(Part::Train, 7).take(text.split("\n\n").count()).collect();
        assert!(text.is_empty() || text == expected.join("\n\n") + "\n");
    }
}

/// What a model is asked, it was told: every fact of one hop at least 100 times in 10 MB, as a sentence, with a
/// question or in a pair; half of those of two hops in sentences.
#[test]
fn every_fact_recurs() {
    let text = text(Part::Train, 0, 10_000_000);
    let mut sentences: BTreeMap<&str, usize> = BTreeMap::new();
    let lines = text.split('\n').flat_map(|line| line.split_inclusive(". "));
    for sentence in lines.map(str::trim_end) {
        let openings = ["we know that ", "it is true that ", "remember that "];
        let plain = openings.iter().find_map(|o| sentence.strip_prefix(o)).unwrap_or(sentence);
        *sentences.entry(plain).or_default() += 1;
    }
    let lines: Vec<&str> = text.lines().collect();
    let mut exercises: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for pair in lines.windows(2) {
        if let (Some(q), Some(a)) = (pair[0].strip_prefix("Question: "), pair[1].strip_prefix("Answer: ")) {
            *exercises.entry((q, a)).or_default() += 1;
        }
    }
    let world = world();
    let mut told = 0;
    for (index, fact) in world.facts.iter().enumerate() {
        let said: usize = world.sentences(index).iter().filter_map(|s| sentences.get(s.as_str())).sum();
        let answer = world.answer(index, &fact.value);
        let asked: usize =
            world.questions(index).iter().filter_map(|q| exercises.get(&(q.as_str(), answer.as_str()))).sum();
        if world.easy.contains(&fact.relation) {
            assert!(said + asked >= 100, "{}: {said} + {asked}", world.sentences(index)[0]);
        } else {
            assert_eq!(world.told(index), said > 0, "{}: {said}", world.sentences(index)[0]);
            told += usize::from(said > 0);
        }
    }
    let hard = world.facts.iter().filter(|f| world.hard.contains(&f.relation)).count();
    assert!(told * 10 > hard * 4 && told * 10 < hard * 6, "{told} of {hard}");
}
