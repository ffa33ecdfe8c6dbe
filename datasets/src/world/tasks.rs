//! The held-out tasks as rows of JSON Lines, with the columns of the public data sets of the same names.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    Part,
    balance::Balance,
    blocks::share,
    documents,
    draw::Draw,
    facts::{World, world},
    items::{Question, binding, goals, knowledge, on_side, pairs, recall, steps},
    tables::{ANIMALS, CONTAINERS, NAMES, PLACES, SMALL},
};

/// Items of each task.
pub const ITEMS: usize = 500;
/// Documents for perplexity.
pub const PAGES: usize = 200;
/// Proposals that are tried before a task is given up: far more than any of today's needs.
const PROPOSALS: usize = 100_000;

/// The names of all tasks.
pub const TASKS: [&str; 9] = [
    "arc_easy",
    "arc_challenge",
    "hellaswag",
    "boolq",
    "openbookqa",
    "piqa",
    "winogrande",
    "lambada",
    "desk",
];

/// JSON Lines of a task, one object on each line, or `None` if `stem` is not one of [`TASKS`].
///
/// The columns are those of ai2_arc, hellaswag, super_glue's boolq, openbookqa, piqa, winogrande, lambada_openai,
/// and, for `desk`, of a wikitext of whole pages.
pub fn dataset(stem: &str) -> Option<String> {
    let rows = match stem {
        "arc_easy" => arc(stem, share::FACTS, |d| knowledge::easy(world(), d)),
        "arc_challenge" => arc(stem, share::FACTS, |d| knowledge::hard(world(), d)),
        "openbookqa" => openbookqa(),
        "hellaswag" => hellaswag(),
        "piqa" => piqa(),
        "winogrande" => winogrande(world()),
        "boolq" => boolq(),
        "lambada" => lambada(),
        "desk" => documents(Part::HeldOut, 0).take(PAGES).map(|page| json!({ "page": page })).collect(),
        _ => return None,
    };
    Some(rows.iter().map(|row| format!("{row}\n")).collect())
}

/// A question with its choices in order, and which is right.
struct Item {
    question: Question,
    choices: Vec<String>,
    gold: usize,
}

/// Held-out questions, all different, balanced.
fn items(task: &str, share: u64, choices: usize, propose: impl Fn(&mut Draw) -> Question) -> Vec<Item> {
    let mut draw = Draw::new(task, 0);
    let mut balance = Balance::default();
    let mut seen = BTreeSet::new();
    let mut items = Vec::new();
    for _ in 0..PROPOSALS {
        if items.len() == ITEMS {
            break;
        }
        let question = on_side(&mut draw, Part::HeldOut, task, share, &propose, |q| &q.key);
        if seen.contains(&question.text) {
            continue;
        }
        let chosen = balance.choose(&mut draw, &question.text, &question.gold, &question.wrong, choices);
        if let Some((choices, gold)) = chosen {
            seen.insert(question.text.clone());
            items.push(Item { question, choices, gold });
        }
    }
    items
}

const LABELS: [&str; 4] = ["A", "B", "C", "D"];

fn arc(task: &str, share: u64, propose: impl Fn(&mut Draw) -> Question) -> Vec<Value> {
    let row = |(i, item): (usize, Item)| {
        json!({
            "id": format!("DESK_{i:03}"),
            "question": item.question.text,
            "choices": { "text": item.choices, "label": LABELS },
            "answerKey": LABELS[item.gold],
        })
    };
    items(task, share, 4, propose).into_iter().enumerate().map(row).collect()
}

fn openbookqa() -> Vec<Value> {
    let row = |(i, item): (usize, Item)| {
        json!({
            "id": format!("desk-{i}"),
            "question_stem": item.question.text,
            "choices": { "text": item.choices, "label": LABELS },
            "answerKey": LABELS[item.gold],
        })
    };
    items("openbookqa", share::OTHERS, 4, knowledge::effect).into_iter().enumerate().map(row).collect()
}

fn hellaswag() -> Vec<Value> {
    let row = |(i, item): (usize, Item)| {
        json!({
            "ind": i,
            "activity_label": item.question.label,
            "ctx_a": item.question.text,
            "ctx_b": "",
            "ctx": item.question.text,
            "endings": item.choices,
            "source_id": format!("desk~{i}"),
            "split": "val",
            "split_type": "indomain",
            "label": item.gold.to_string(),
        })
    };
    let propose = |d: &mut Draw| {
        let telling = steps::telling(d);
        steps::next_step(d, &telling)
    };
    items("hellaswag", share::OTHERS, 4, propose).into_iter().enumerate().map(row).collect()
}

fn piqa() -> Vec<Value> {
    let row = |item: Item| {
        json!({
            "goal": item.question.text,
            "sol1": item.choices[0],
            "sol2": item.choices[1],
            "label": item.gold,
        })
    };
    items("piqa", share::OTHERS, 2, goals::goal).into_iter().map(row).collect()
}

fn winogrande(world: &World) -> Vec<Value> {
    let mut draw = Draw::new("winogrande", 0);
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    while rows.len() < ITEMS {
        let propose = |d: &mut Draw| pairs::twins(world, d);
        let twins = on_side(&mut draw, Part::HeldOut, "winogrande", share::OTHERS, propose, |t| &t.key);
        if !seen.insert(twins.key) {
            continue;
        }
        // Both orders of options and of twins, equally often.
        let pair = rows.len() / 2;
        let (swap, second_first) = (pair % 2, pair / 2 % 2);
        for twin in [second_first, 1 - second_first] {
            rows.push(json!({
                "sentence": twins.sentences[twin],
                "option1": twins.options[swap],
                "option2": twins.options[1 - swap],
                "answer": if twin == swap { "1" } else { "2" },
            }));
        }
    }
    rows
}

fn boolq() -> Vec<Value> {
    let mut draw = Draw::new("boolq", 0);
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    while rows.len() < ITEMS {
        let passage =
            on_side(&mut draw, Part::HeldOut, "boolq", share::OTHERS, binding::passage, |p| &p.text);
        if !seen.insert(passage.text.clone()) {
            continue;
        }
        let yes = rows.len().is_multiple_of(2);
        let fitting: Vec<_> = passage.questions.iter().filter(|(_, answer)| *answer == yes).collect();
        let (question, _) = draw.pick(&fitting);
        rows.push(json!({
            "question": question,
            "passage": passage.text,
            "idx": rows.len(),
            "label": i32::from(yes),
        }));
    }
    rows
}

/// The last name, place, thing or animal before the last word.
fn last_named(text: &str) -> Option<&str> {
    let named = |w: &&str| {
        [&NAMES[..], &PLACES, &SMALL, &CONTAINERS].iter().any(|list| list.contains(w))
            || ANIMALS.iter().any(|a| a[0] == *w)
    };
    let words: Vec<&str> = super::balance::words(text).collect();
    words[..words.len() - 1].iter().rev().copied().find(|w| named(w))
}

fn lambada() -> Vec<Value> {
    let mut draw = Draw::new("lambada", 0);
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    let mut last_named_is_right = 0;
    while rows.len() < ITEMS {
        let story = on_side(&mut draw, Part::HeldOut, "lambada", share::OTHERS, recall::story, |s| &s.text);
        let easy = last_named(&story.text) == Some(&story.last);
        // At most one in ten is right by taking what was named last.
        if seen.contains(&story.text) || (easy && 10 * (last_named_is_right + 1) > rows.len()) {
            continue;
        }
        last_named_is_right += usize::from(easy);
        rows.push(json!({ "text": story.text }));
        seen.insert(story.text);
    }
    rows
}
