//! Exactly one choice is true: read off the tables, without the machinery that made the items.

use super::*;
use crate::world::{
    balance::words,
    facts::{Person, world},
    routines::ROUTINES,
    tables::{
        ACTIONS, ANIMALS, Action, CAUSES, COLOURS, CONTAINERS, Cause, DRINKS, FOODS, HOMES, INSTRUMENTS,
        JOBS, MATERIALS, Material, NAMES, PETS, PLACES, SMALL, THINGS, USES,
    },
};

/// The one of `list` whose name is a word of `text`.
fn named<'a, T>(list: &'a [T], text: &str, name: impl Fn(&T) -> &str) -> Option<&'a T> {
    list.iter().find(|entry| words(text).any(|w| w == name(entry)))
}

fn has(text: &str, any: &[&str]) -> bool {
    any.iter().any(|part| text.contains(part))
}

fn material(name: &str) -> &'static Material {
    MATERIALS.iter().find(|m| m.name == name).unwrap()
}

/// What a material is asked about.
fn of_material(question: &str, m: &Material) -> Option<String> {
    if let Some(i) = ACTIONS.iter().position(|a| question.contains(a.place)) {
        return Some(format!("it {}", m.does[i]));
    }
    if has(question, &["come from", "comes from", "get "]) {
        return Some(m.from.to_owned());
    }
    has(question, &["feel"]).then(|| format!("it feels {}", m.feels))
}

fn of_pet(question: &str, p: &Person) -> String {
    let animal = ANIMALS.iter().find(|a| a[0] == PETS[p.pet]).unwrap();
    if has(question, &["cover", "on the body"]) {
        animal[4].to_owned()
    } else if has(question, &["move", "go from place"]) {
        format!("it {}", animal[5])
    } else {
        assert!(has(question, &["eat", "food", "give to"]), "{question}");
        animal[2].to_owned()
    }
}

fn of_person(question: &str, p: &Person, hops: usize) -> String {
    let job = &JOBS[p.job];
    if hops == 2 {
        return if has(question, &["pet of", "to the pet"]) {
            of_pet(question, p)
        } else if has(question, &["where"]) {
            job.place.to_owned()
        } else if has(question, &["tool", "use at", "need"]) {
            job.tool.to_owned()
        } else {
            assert!(has(question, &["do at work", "from dawn", "which work"]), "{question}");
            job.does.to_owned()
        };
    }
    if has(question, &["job", "work as"]) {
        format!("a {}", job.name)
    } else if has(question, &["live?", "house", "home"]) {
        HOMES[p.home].to_owned()
    } else if has(question, &["pet", "animal"]) {
        format!("a {}", PETS[p.pet])
    } else if has(question, &["drink"]) {
        DRINKS[p.drink].to_owned()
    } else if has(question, &["eat", "food"]) {
        FOODS[p.food].to_owned()
    } else if has(question, &["colour"]) {
        COLOURS[p.colour].to_owned()
    } else {
        assert!(has(question, &["play"]), "{question}");
        format!("the {}", INSTRUMENTS[p.instrument])
    }
}

fn of_thing(question: &str, index: usize, hops: usize) -> String {
    let thing = &THINGS[index];
    if hops == 2 {
        return of_material(question, material(thing[2])).unwrap();
    }
    if has(question, &["kind", "call"]) {
        format!("a kind of {}", thing[1])
    } else if has(question, &["made", "material"]) {
        thing[2].to_owned()
    } else if has(question, &["colour"]) {
        COLOURS[world().colours[index]].to_owned()
    } else if has(question, &["where"]) {
        format!("in the {}", thing[3])
    } else {
        assert!(has(question, &["for"]), "{question}");
        format!("to {}", USES.iter().find(|u| u.tool == thing[0]).unwrap().goals[0])
    }
}

fn of_animal(question: &str, animal: &[&str; 6]) -> String {
    if has(question, &["kind", "sort"]) {
        let article = if animal[1] == "insect" { "an" } else { "a" };
        format!("{article} {}", animal[1])
    } else if has(question, &["move", "look for food"]) {
        format!("it {}", animal[5])
    } else if has(question, &["cover", "on the body"]) {
        animal[4].to_owned()
    } else if has(question, &["where"]) {
        let on = ["farm", "mountain"].contains(&animal[3]);
        format!("{} the {}", if on { "on" } else { "in" }, animal[3])
    } else {
        assert!(has(question, &["eat", "food"]), "{question}");
        animal[2].to_owned()
    }
}

/// The answer of a question on facts.
fn truth(question: &str, hops: usize) -> String {
    if let Some(person) = named(&world().people, question, |p| p.name) {
        return of_person(question, person, hops);
    }
    // Before things, one of which is the hammer that others are under.
    let subject = question.replace("under the hammer", "");
    if let Some(index) = THINGS.iter().position(|t| words(&subject).any(|w| w == t[0])) {
        return of_thing(question, index, hops);
    }
    if let Some(animal) = named(&ANIMALS, question, |a| a[0]) {
        return of_animal(question, animal);
    }
    if let Some(job) = named(&JOBS, question, |j| j.name) {
        return if has(question, &["where"]) {
            job.place.to_owned()
        } else if has(question, &["use", "need", "work with"]) {
            job.tool.to_owned()
        } else {
            job.does.to_owned()
        };
    }
    let material = named(&MATERIALS, question, |m| m.name).expect(question);
    of_material(question, material).expect(question)
}

#[test]
fn one_choice_is_true_of_facts() {
    for (task, hops) in [("arc_easy", 1), ("arc_challenge", 2)] {
        for (question, choices, gold) in choices(task) {
            let answer = truth(&question, hops);
            let right: Vec<usize> = (0..choices.len()).filter(|&i| choices[i] == answer).collect();
            assert_eq!(right, [gold], "{task}: {question} {choices:?} {answer}");
            // Uses of tools that can stand in for each other are not choices of one question.
            let groups: Vec<_> = choices
                .iter()
                .filter_map(|c| USES.iter().find(|u| *c == format!("to {}", u.goals[0])).map(|u| u.group))
                .collect();
            assert!(
                groups.iter().filter(|g| **g == groups[gold.min(groups.len() - 1)]).count() <= 1,
                "{choices:?}"
            );
        }
    }
}

/// What the thing does to which something was done.
fn of_action(stem: &str) -> Option<&'static str> {
    let happens = |action: &Action| {
        let (before, after) = action.event.split_once("{x}").unwrap();
        stem.contains(before.rsplit("{p} ").next().unwrap()) && stem.contains(after)
    };
    let action = ACTIONS.iter().position(happens)?;
    let thing = named(&THINGS, stem.rsplit(' ').next().unwrap(), |t| t[0]).unwrap();
    let material = material(thing[2]);
    assert!(stem.contains(material.adjective), "{stem}");
    Some(material.does[action])
}

/// The effect of the cause whose words between persons and places are all in the stem.
fn of_cause(stem: &str, choices: &[String]) -> &'static str {
    let parts = |cause: &Cause| cause.before.split(['{', '}']).map(str::to_owned).collect::<Vec<_>>();
    let fits =
        |cause: &&Cause| parts(cause).iter().filter(|part| part.len() > 1).all(|part| stem.contains(part));
    let causes: Vec<_> = CAUSES.iter().filter(fits).collect();
    assert_eq!(causes.len(), 1, "{stem}");
    assert!(choices.iter().all(|c| !causes[0].also.contains(&c.as_str())), "{stem} {choices:?}");
    causes[0].effect
}

#[test]
fn one_choice_follows_from_what_happened() {
    for (stem, choices, gold) in choices("openbookqa") {
        let effect = of_action(&stem).unwrap_or_else(|| of_cause(&stem, &choices));
        let right: Vec<usize> = (0..4).filter(|&i| choices[i] == effect).collect();
        assert_eq!(right, [gold], "{stem} {choices:?}");
    }
}

#[test]
fn one_solution_reaches_the_goal() {
    for (goal, choices, gold) in choices("piqa") {
        let reaches = |choice: &str| {
            if let Some(action) = ACTIONS.iter().position(|a| goal.contains(a.place)) {
                let m = named(&MATERIALS, choice, |m| m.name).unwrap();
                return goal.contains(&format!("that {} ", m.does[action]));
            }
            if choice.starts_with("look in") || choice.starts_with("go to") {
                let thing = named(&THINGS, &goal, |t| t[0]).unwrap();
                return choice.contains(thing[3]);
            }
            let tool = named(&USES, choice, |u| u.tool).unwrap();
            let wanted = USES.iter().find(|u| u.goals.iter().any(|g| goal.contains(g))).unwrap();
            tool.group == wanted.group
        };
        let right: Vec<usize> = (0..2).filter(|&i| reaches(&choices[i])).collect();
        assert_eq!(right, [gold], "{goal} {choices:?}");
        let [a, b] = [&choices[0], &choices[1]].map(|c| words(c).collect::<Vec<_>>());
        assert!(a.len() == b.len() && a.iter().zip(&b).filter(|(a, b)| a != b).count() == 1, "{choices:?}");
    }
}

#[test]
fn endings_are_steps_of_which_one_is_next() {
    for (prompt, choices, gold) in choices("hellaswag") {
        let label = prompt.split(':').next().unwrap();
        let (routine, object) = ROUTINES
            .iter()
            .flat_map(|r| r.objects.iter().map(move |o| (r, o)))
            .find(|(r, o)| r.name.replace("{x}", o) == label)
            .unwrap();
        let done = prompt.matches('.').count() - 1;
        let next: Vec<usize> = (0..4)
            .filter(|&i| {
                choices[i][..choices[i].len() - 1].ends_with(&routine.steps[done].replace("{x}", object))
            })
            .collect();
        assert_eq!(next, [gold], "{prompt} {choices:?}");
    }
}

#[test]
fn passages_answer_their_questions() {
    for row in rows("boolq") {
        let (passage, question) = (string(&row, "passage"), string(&row, "question"));
        let passage = passage.strip_prefix("today ").unwrap();
        let told: Vec<&str> = passage.split(". ").map(|s| s.trim_end_matches('.')).collect();
        let yes = if let Some(rest) = question.strip_prefix("did ") {
            let (name, made) = rest.split_once(" have a thing made of ").unwrap();
            THINGS.iter().any(|t| t[2] == made && told.contains(&&*format!("{name} had the {}", t[0])))
        } else {
            let rest = question.strip_prefix("was ").unwrap();
            let told_as = match rest.strip_prefix("it ") {
                Some(rest) => rest.replace(" who ", " "),
                None => rest.replace(" at ", " was at "),
            };
            told.contains(&told_as.as_str())
        };
        assert_eq!(i32::from(yes), row["label"].as_i64().unwrap() as i32, "{passage} {question}");
    }
}

/// The two ends of each situation with the place of the name that it tells, by the words between the names.
const SITUATIONS: [(&str, &str, &str); 8] = [
    ("gave the", "full", "hungry"),
    ("carried the", "strong", "weak"),
    ("asked", "lost", "at home there"),
    ("won the race", "fast", "slow"),
    ("gave a warm coat", "warm", "cold"),
    ("told", "at home there", "lost"),
    ("sold the", "no money", "much money"),
    ("taught", "old", "young"),
];

/// What the sentence says of the one who is meant, if a person: the last words of what is true of them.
fn of_trait(sentence: &str, name: &str) -> Option<String> {
    let person = world().people.iter().find(|p| p.name == name)?;
    Some(match sentence.split(". ").next()?.rsplit(' ').next()? {
        "work" => JOBS[person.job].does.to_owned(),
        "thirsty" => format!("drinks {}", DRINKS[person.drink]),
        "hungry" => format!("eats {}", FOODS[person.food]),
        "music" => format!("plays the {}", INSTRUMENTS[person.instrument]),
        "home" => format!("lives {}", HOMES[person.home]),
        "pets" => format!("has a {}", PETS[person.pet]),
        "paint" => format!("likes the colour {}", COLOURS[person.colour]),
        _ => return None,
    })
}

#[test]
fn sentences_of_winogrande_mean_who_they_say() {
    let mut kinds = [0; 4];
    for (sentence, options, gold) in choices("winogrande") {
        let end = sentence.split('_').nth(1).unwrap().trim().trim_end_matches('.');
        let (kind, right): (usize, Vec<bool>) = if let Some(action) =
            ACTIONS.iter().position(|a| sentence.contains(a.both))
        {
            let does =
                |option: &String| material(THINGS.iter().find(|t| t[0] == option).unwrap()[2]).does[action];
            (0, options.iter().map(|option| does(option) == end).collect())
        } else if let Some((thing, _)) = sentence.split_once(" did not fit into the ") {
            let thing = thing.strip_prefix("the ").unwrap();
            assert!(["was too big", "was too small"].contains(&end), "{sentence}");
            (1, options.iter().map(|option| (option == thing) == (end == "was too big")).collect())
        } else if sentence.contains(" because _") {
            let tells = |s: &&(&str, &str, &str)| sentence.contains(&format!(" {} ", s.0));
            let situations: Vec<_> = SITUATIONS.iter().filter(tells).collect();
            let [(_, first, second)] = situations[..] else { panic!("{sentence}: {situations:?}") };
            let first_is_meant = end.ends_with(first);
            assert!(first_is_meant || end.ends_with(second), "{sentence}");
            let place = |option: &String| words(&sentence).position(|w| w == option).unwrap();
            let others = [place(&options[1]), place(&options[0])];
            let is_first = |i: usize| place(&options[i]) < others[i];
            (2, [0, 1].map(|i| is_first(i) == first_is_meant).to_vec())
        } else {
            let is = |option: &String| of_trait(&sentence, option).expect(&sentence) == end;
            (3, options.iter().map(is).collect())
        };
        assert_eq!([right[gold], right[1 - gold]], [true, false], "{sentence} {options:?}");
        kinds[kind] += 1;
    }
    // No way to tell who is meant was left out.
    assert!(kinds.iter().all(|n| *n > 20), "{kinds:?}");
}

/// Two things are told, and later one of two names that tell them apart comes back: the last word is of its sentence.
#[test]
fn the_last_word_of_a_story_is_the_one_that_its_beginning_told() {
    let names = [&NAMES[..], &PLACES, &SMALL, &CONTAINERS].concat();
    for row in rows("lambada") {
        let (story, last) = string(&row, "text").rsplit_once(' ').unwrap();
        let sentences: Vec<&str> = story.split(". ").collect();
        let has = |sentence: &str, word: &str| words(sentence).any(|w| w == word);
        let later = sentences[2..].join(" ");
        let again: Vec<[bool; 2]> = names
            .iter()
            .filter(|name| has(&later, name))
            .map(|name| [0, 1].map(|i| has(sentences[i], name)))
            .filter(|[first, second]| first != second)
            .collect();
        assert_eq!(again, [[0, 1].map(|i| has(sentences[i], last))], "{story} {last}");
    }
}
