//! Rules of thumb that need neither the world nor the prompt's meaning, measured in floating point and with the
//! frequencies of eight times as much text as the generator looks at.

use std::collections::BTreeMap;

use super::*;
use crate::world::{balance::words, facts::world, tables};

/// More than chance by so much is a cue.
const POINTS: f64 = 0.03;

const WITH_CHOICES: [&str; 7] =
    ["arc_easy", "arc_challenge", "hellaswag", "boolq", "openbookqa", "piqa", "winogrande"];

/// The share of items that a rule gets right which takes the choice with the highest score; ties share.
fn accuracy(items: &[(String, Vec<String>, usize)], score: impl Fn(&str, usize, &str) -> f64) -> f64 {
    let mut sum = 0.0;
    for (prompt, choices, gold) in items {
        let scores: Vec<f64> = choices.iter().enumerate().map(|(i, c)| score(prompt, i, c)).collect();
        let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let winners = scores.iter().filter(|s| **s == best).count();
        if scores[*gold] == best {
            sum += 1.0 / winners as f64;
        }
    }
    sum / items.len() as f64
}

#[test]
fn no_rule_of_thumb_beats_chance() {
    // As much as a small model trains on.
    let text = text(Part::Train, 0, 16 << 20);
    let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
    for word in words(&text) {
        *counts.entry(word).or_default() += 1.0;
    }
    let all: f64 = counts.values().sum();
    let frequency = |choice: &str| {
        let logs: Vec<f64> =
            words(choice).map(|w| (counts.get(w).copied().unwrap_or(0.5) / all).ln()).collect();
        logs.iter().sum::<f64>() / logs.len() as f64
    };
    let overlap =
        |prompt: &str, choice: &str| words(choice).filter(|w| words(prompt).any(|p| p == *w)).count() as f64;
    for task in WITH_CHOICES {
        let items = choices(task);
        let chance = items.iter().map(|(_, c, _)| 1.0 / c.len() as f64).sum::<f64>() / items.len() as f64;
        let mut rules: Vec<(String, f64)> = (0..items[0].1.len())
            .map(|place| {
                (format!("choice {place}"), accuracy(&items, |_, i, _| f64::from(u8::from(i == place))))
            })
            .collect();
        for (sign, most) in [(1.0, "most"), (-1.0, "least")] {
            let mut rule = |name: &str, score: &dyn Fn(&str, &str) -> f64| {
                rules.push((format!("{most} {name}"), accuracy(&items, |p, _, c| sign * score(p, c))));
            };
            rule("characters", &|_, c| c.chars().count() as f64);
            rule("words", &|_, c| words(c).count() as f64);
            rule("frequent words", &|_, c| frequency(c));
            rule("words of the prompt", &overlap);
            rule("share of the prompt's words", &|p, c| overlap(p, c) / words(c).count() as f64);
        }
        for (rule, accuracy) in rules {
            println!("{task:<15} {rule:<32} {accuracy:.3}");
            // The options of winogrande stand in its sentence once each, so that the rules tie.
            assert!(accuracy <= chance + POINTS, "{task}: {rule} is right {accuracy} of the time");
        }
    }
}

/// Who knows only how often a string was the answer of an exercise does not know more than chance.
#[test]
fn no_answer_is_right_because_it_often_is() {
    let text = text(Part::Train, 9, 4 << 20);
    let mut answers: BTreeMap<&str, f64> = BTreeMap::new();
    for answer in text.lines().filter_map(|line| line.strip_prefix("Answer: ")) {
        *answers.entry(answer).or_default() += 1.0;
    }
    for task in ["arc_easy", "arc_challenge", "piqa"] {
        let items = choices(task);
        // Choices that are no answers would tie, and the rule would know nothing.
        let all = items.iter().flat_map(|(_, choices, _)| choices);
        assert!(all.clone().filter(|c| answers.contains_key(c.as_str())).count() * 10 >= all.count() * 9);
        let chance = 1.0 / items[0].1.len() as f64;
        let accuracy = accuracy(&items, |_, _, choice| answers.get(choice).copied().unwrap_or_default());
        println!("{task:<15} {accuracy:.3}");
        assert!(accuracy <= chance + POINTS, "{task}: {accuracy}");
    }
}

/// Nor does who knows it of one half of a task know more about the other half.
#[test]
fn no_answer_is_right_because_it_was_before() {
    for task in WITH_CHOICES {
        let items = choices(task);
        let chance = 1.0 / items[0].1.len() as f64;
        for half in [0, 1] {
            let of = |wanted: usize| items.iter().enumerate().filter(move |(i, _)| i / 4 % 2 == wanted);
            let mut right: BTreeMap<&str, f64> = BTreeMap::new();
            for (_, (_, choices, gold)) in of(half) {
                for (i, choice) in choices.iter().enumerate() {
                    let change = if i == *gold { 1.0 } else { -1.0 / (choices.len() as f64 - 1.0) };
                    *right.entry(choice).or_default() += change;
                }
            }
            let other: Vec<_> = of(1 - half).map(|(_, item)| item.clone()).collect();
            let accuracy = accuracy(&other, |_, _, choice| right.get(choice).copied().unwrap_or_default());
            println!("{task:<15} {accuracy:.3}");
            // Of 250 items only; the standard deviation of guessing is 2.7 to 3.2 points.
            assert!(accuracy <= chance + 2.0 * POINTS, "{task}: {accuracy}");
        }
    }
}

/// A third of the false questions ask for what the passage does not mention; who looks for words only, and says yes to
/// all else, is right about two thirds.
#[test]
fn yes_is_as_frequent_as_no_and_words_alone_do_not_tell_which() {
    let rows = rows("boolq");
    assert_eq!(rows.iter().filter(|r| r["label"] == 1).count() * 2, rows.len());
    let last = |row: &Value| words(string(row, "question")).last().unwrap().to_owned();
    let direct: Vec<&Value> = rows.iter().filter(|r| !string(r, "question").starts_with("did ")).collect();
    let mentioned = |row: &Value| words(string(row, "passage")).any(|w| w == last(row));
    let right = direct.iter().filter(|row| mentioned(row) == (row["label"] == 1)).count();
    // The standard deviation of the share is 2.5 points.
    assert!(right * 100 < 70 * direct.len(), "{right} of {}", direct.len());
    assert!(direct.iter().all(|row| row["label"] == 0 || mentioned(row)));
}

#[test]
fn twins_of_winogrande_differ_in_their_ends_and_in_their_answers() {
    for pair in rows("winogrande").chunks(2) {
        assert_eq!(pair[0]["option1"], pair[1]["option1"]);
        assert_eq!(pair[0]["option2"], pair[1]["option2"]);
        assert_ne!(pair[0]["answer"], pair[1]["answer"]);
        let starts = [0, 1].map(|i| string(&pair[i], "sentence").split('_').next().unwrap());
        assert_eq!(starts[0], starts[1]);
    }
}

#[test]
fn the_last_word_of_a_story_is_not_the_one_that_was_named_last_or_most_often() {
    let named: Vec<&str> = [&tables::NAMES[..], &tables::PLACES, &tables::SMALL, &tables::CONTAINERS]
        .concat()
        .into_iter()
        .chain(tables::ANIMALS.map(|a| a[0]))
        .collect();
    let mut last = BTreeMap::new();
    let (mut last_named, mut first_named, mut unmentioned) = (0, 0, 0);
    let rows = rows("lambada");
    for row in &rows {
        let (story, word) = string(row, "text").rsplit_once(' ').unwrap();
        *last.entry(word).or_insert(0) += 1;
        let mentions: Vec<&str> = words(story).filter(|w| named.contains(w)).collect();
        last_named += usize::from(mentions.last() == Some(&word));
        first_named += usize::from(mentions.first() == Some(&word));
        unmentioned += usize::from(!mentions.contains(&word));
        let sentence = story.rsplit(". ").next().unwrap();
        assert!(!words(sentence).any(|w| w == word), "{story} {word}");
    }
    let limit = rows.len() * 15 / 100;
    let most = last.values().max().unwrap();
    assert!(*most < limit && last_named < limit, "{most} {last_named}");
    assert!(first_named < 2 * limit, "{first_named}");
    assert_eq!(unmentioned, 0);
    assert!(world().people.len() == tables::NAMES.len());
}
