//! Passages on who did what, and questions with yes or no on them (BoolQ).

use crate::world::{
    draw::{Draw, fill},
    tables::{ANIMALS, FOODS, NAMES, PLACES, SMALL, THINGS},
};

/// A passage with questions: each with whether its answer is yes.
pub(crate) struct Passage {
    pub text: String,
    pub questions: Vec<(String, bool)>,
}

/// What is told of people: how it is said, how it is asked, and what of.
struct Sort {
    says: &'static str,
    asks: &'static str,
    values: fn() -> Vec<&'static str>,
}

const SORTS: [Sort; 4] = [
    Sort { says: "{p} was at the {v}.", asks: "was {p} at the {v}", values: || PLACES.to_vec() },
    Sort { says: "{p} had the {v}.", asks: "was it {p} who had the {v}", values: || SMALL.to_vec() },
    Sort { says: "{p} ate the {v}.", asks: "was it {p} who ate the {v}", values: || FOODS.to_vec() },
    Sort {
        says: "{p} saw the {v}.",
        asks: "was it {p} who saw the {v}",
        values: || ANIMALS.map(|animal| animal[0]).to_vec(),
    },
];
/// The sort of things that are made of something.
const HELD: usize = 1;

/// Two or three people, of whom two things each are told. A false question says of one what is true of another, so
/// that its words are in the passage as those of a true one are; one in three asks for what nobody did, so that who
/// only looks for words is right about some.
pub(crate) fn passage(draw: &mut Draw) -> Passage {
    let count = 2 + usize::from(draw.chance(1, 3));
    let names = draw.several(&NAMES, count);
    let mut sentences = Vec::new();
    let mut questions = Vec::new();
    for sort in draw.several(&[0, 1, 2, 3], 2) {
        let Sort { says, asks, values } = &SORTS[sort];
        // One for each person, and one for nobody.
        let values = draw.several(&values(), count + 1);
        let put = |template: &str, p: &str, v: &str| fill(template, &[("p", p), ("v", v)]);
        for (i, name) in names.iter().enumerate() {
            sentences.push(put(says, name, values[i]));
            let other = if draw.chance(1, 3) { count } else { (i + 1 + draw.below(count - 1)) % count };
            questions.push((put(asks, name, values[i]), true));
            questions.push((put(asks, name, values[other]), false));
            let [right, wrong] = [values[i], values[other]].map(material);
            if sort == HELD && right != wrong {
                let ask = "did {p} have a thing made of {v}";
                questions.push((put(ask, name, right), true));
                questions.push((put(ask, name, wrong), false));
            }
        }
    }
    draw.shuffle(&mut sentences);
    Passage { text: format!("today {}", sentences.join(" ")), questions }
}

/// What a thing is made of; nothing, where it is no thing.
fn material(thing: &str) -> &'static str {
    THINGS.iter().find(|t| t[0] == thing).map_or("", |t| t[2])
}
