//! Questions on facts: one hop (ARC-Easy), two hops (ARC-Challenge), and what follows from an event (OpenBookQA).

use super::Question;
use crate::world::{
    draw::{Draw, fill},
    facts::{World, possessive, pronoun},
    tables::{ACTIONS, CAUSES, MATERIALS, NAMES, PLACES, THINGS},
};

/// A question on one fact.
pub(crate) fn easy(world: &World, draw: &mut Draw) -> Question {
    // People know most: of the other relations each is as frequent as one of theirs.
    let relation = *draw.pick(&world.easy);
    on_fact(world, draw, relation)
}

/// A question on a fact that follows from two others.
pub(crate) fn hard(world: &World, draw: &mut Draw) -> Question {
    let relation = *draw.pick(&world.hard);
    on_fact(world, draw, relation)
}

fn on_fact(world: &World, draw: &mut Draw, relation: usize) -> Question {
    let relation = &world.relations[relation];
    // First the value, then who has it: a frequent value is no better guess than a rare one.
    let holders = draw.pick(&relation.holders);
    let index = *draw.pick(holders);
    let fact = &world.facts[index];
    let text = world.ask(draw, index);
    let wrong = relation.values.iter().filter(|v| **v != fact.value && !fact.also.contains(v));
    let wrong = wrong.map(|v| world.answer(index, v)).collect();
    Question { key: text.clone(), text, label: String::new(), gold: world.answer(index, &fact.value), wrong }
}

/// The beginning of a sentence that ends with an effect.
pub(crate) fn effect(draw: &mut Draw) -> Question {
    let (person, place) = (*draw.pick(&NAMES), *draw.pick(&PLACES));
    if draw.chance(2, 5) {
        let cause = draw.pick(&CAUSES);
        let values = [("p", person), ("s", pronoun(person)), ("h", possessive(person)), ("l", place)];
        let text = fill(cause.before, &values);
        let wrong = CAUSES.iter().map(|c| c.effect).filter(|e| *e != cause.effect && !cause.also.contains(e));
        let wrong = wrong.map(str::to_owned).collect();
        return Question {
            key: text.clone(),
            text,
            label: String::new(),
            gold: cause.effect.to_owned(),
            wrong,
        };
    }
    let index = draw.below(ACTIONS.len());
    let mut effects: Vec<&str> = Vec::new();
    for material in &MATERIALS {
        if !effects.contains(&material.does[index]) {
            effects.push(material.does[index]);
        }
    }
    let gold = *draw.pick(&effects);
    let does =
        |thing: &&[&'static str; 4]| MATERIALS.iter().any(|m| m.name == thing[2] && m.does[index] == gold);
    let things: Vec<_> = THINGS.iter().filter(does).collect();
    let thing = draw.pick(&things);
    let material = MATERIALS.iter().find(|m| m.name == thing[2]).expect("a known material");
    let x = format!("the {} {}", material.adjective, thing[0]);
    let event = fill(ACTIONS[index].event, &[("p", person), ("x", &x)]);
    let text = format!("{event} the {}", thing[0]);
    let wrong = effects.iter().filter(|e| **e != gold).map(|&e| e.to_owned()).collect();
    // Held out is the thing with what is done to it, whoever does it: the answer follows from what the material does.
    let key = format!("{} {}", thing[0], ACTIONS[index].place);
    Question { key, text, label: String::new(), gold: gold.to_owned(), wrong }
}
