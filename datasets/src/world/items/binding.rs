//! Passages on who did what, and questions with yes or no on them (BoolQ).

use crate::world::{
    draw::Draw,
    tables::{ANIMALS, FOODS, MATERIALS, NAMES, PLACES, SMALL, THINGS},
};

/// A passage with questions: each with whether its answer is yes.
pub(crate) struct Passage {
    pub text: String,
    pub questions: Vec<(String, bool)>,
}

/// Two or three people, of whom two things each are told. A false question says of one what is true of another, so
/// that the words of a question are in the passage whatever the answer.
pub(crate) fn passage(draw: &mut Draw) -> Passage {
    let count = 2 + usize::from(draw.chance(1, 3));
    let names = draw.several(&NAMES, count);
    let sorts = draw.several(&[0, 1, 2, 3], 2);
    let mut sentences = Vec::new();
    let mut questions = Vec::new();
    for sort in sorts {
        let values = match sort {
            0 => draw.several(&PLACES, count),
            1 => held(draw, count),
            2 => draw.several(&FOODS, count),
            _ => draw.several(&ANIMALS.map(|a| a[0]), count),
        };
        let (says, asks) = match sort {
            0 => ("{p} was at the {v}.", "was {p} at the {v}"),
            1 => ("{p} had the {v}.", "was it {p} who had the {v}"),
            2 => ("{p} ate the {v}.", "was it {p} who ate the {v}"),
            _ => ("{p} saw the {v}.", "was it {p} who saw the {v}"),
        };
        let put = |template: &str, p: &str, v: &str| template.replace("{p}", p).replace("{v}", v);
        for i in 0..count {
            sentences.push(put(says, names[i], values[i]));
            let other = (i + 1 + draw.below(count - 1)) % count;
            questions.push((put(asks, names[i], values[i]), true));
            questions.push((put(asks, names[i], values[other]), false));
            if sort == 1 {
                let made = |thing: &str| THINGS.iter().find(|t| t[0] == thing).expect("a known thing")[2];
                let adjective = |thing: &str| {
                    MATERIALS.iter().find(|m| m.name == made(thing)).expect("a known material").adjective
                };
                let ask = |v: &str| format!("did {} have a thing made of {}", names[i], made(v));
                if adjective(values[i]) != adjective(values[other]) {
                    questions.push((ask(values[i]), true));
                    questions.push((ask(values[other]), false));
                }
            }
        }
    }
    draw.shuffle(&mut sentences);
    Passage { text: sentences.join(" "), questions }
}

fn held(draw: &mut Draw, count: usize) -> Vec<&'static str> {
    draw.several(&SMALL, count)
}
