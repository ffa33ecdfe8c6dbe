//! Stories whose last word only their beginning tells (LAMBADA).

use crate::world::{
    draw::{Draw, fill},
    tables::{ANIMALS, CONTAINERS, NAMES, PLACES, SMALL},
};

/// A story without its final stop. Its last word is one of those that `{1}` and `{2}` stand for, and `{k}`, which is
/// `{x}` or `{y}`, tells which.
struct Story {
    text: &'static str,
    answers: Sort,
    keys: Sort,
}

/// Sorts of words; a story has each for one purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    People,
    Things,
    Places,
    Containers,
    Animals,
}

const fn story_of(answers: Sort, keys: Sort, text: &'static str) -> Story {
    Story { text, answers, keys }
}

const STORIES: [Story; 10] = [
    story_of(
        Sort::Containers,
        Sort::Things,
        "today {c} put the {x} into the {1}. {c} put the {y} into the {2}. then {c} went to the {l} with {d}. in the evening {d} wanted to have the {k}, so {c} opened the",
    ),
    story_of(
        Sort::Containers,
        Sort::Things,
        "the {x} of the old king was in the {1}. the {y} of the old king was in the {2}. {c} and {d} went to the {l} to find the {k}. after an hour they found it in the",
    ),
    story_of(
        Sort::People,
        Sort::Things,
        "today {c} gave the {x} to {1}. {c} gave the {y} to {2}. it was a long day at the {l}. whoever wanted to have the {k} had to ask",
    ),
    story_of(
        Sort::People,
        Sort::Things,
        "this {x} belongs to {1}. this {y} belongs to {2}. one day {c} found the {k} at the {l}. {c} was happy and gave it back to",
    ),
    story_of(
        Sort::Things,
        Sort::People,
        "today {x} lost the {1} at the {l}. {y} lost the {2} at the {m}. they looked for hours. at last {k} was happy, because {c} came with the",
    ),
    story_of(
        Sort::Things,
        Sort::People,
        "today {x} bought the {1} at the {l}. {y} bought the {2} at the {m}. then they went home with {c}. in the evening {k} was happy with the",
    ),
    story_of(
        Sort::Places,
        Sort::People,
        "today {x} went to the {1}. {y} went to the {2}. {c} had the {o} and wanted to show it to {k}. so {c} walked to the",
    ),
    story_of(
        Sort::Places,
        Sort::People,
        "today {x} waits at the {1}. {y} waits at the {2}. {c} has a letter for {k} in the bag. so now {c} walks to the",
    ),
    story_of(
        Sort::Animals,
        Sort::Places,
        "today {c} saw the {1} at the {x}. {c} saw the {2} at the {y}. in the evening {c} told {d} about it. {d} went to the {k} at once to see the",
    ),
    story_of(
        Sort::Animals,
        Sort::People,
        "today {x} is afraid of the {1}. {y} is afraid of the {2}. they walk to the {l} with {c}. now {k} runs away, because there is the",
    ),
];

/// A story without its final stop, and its last word.
pub(crate) struct Recall {
    pub text: String,
    pub last: String,
}

/// A story in which nothing is named twice for two purposes.
pub(crate) fn story(draw: &mut Draw) -> Recall {
    let story = draw.pick(&STORIES);
    let people = draw.several(&NAMES, 6);
    let places = draw.several(&PLACES, 6);
    let things = draw.several(&SMALL, 5);
    // The first two of each sort are the answers, the next two the keys, if they are of that sort.
    let two = |sort: Sort, from: usize, draw: &mut Draw| match sort {
        Sort::People => people[from..from + 2].to_vec(),
        Sort::Things => things[from..from + 2].to_vec(),
        Sort::Places => places[from..from + 2].to_vec(),
        Sort::Containers => draw.several(&CONTAINERS, 2),
        Sort::Animals => draw.several(&ANIMALS.map(|animal| animal[0]), 2),
    };
    let answers = two(story.answers, 0, draw);
    let keys = two(story.keys, 2, draw);
    let right = draw.below(2);
    let values = [
        ("1", answers[0]),
        ("2", answers[1]),
        ("x", keys[0]),
        ("y", keys[1]),
        ("k", keys[right]),
        ("c", people[4]),
        ("d", people[5]),
        ("l", places[4]),
        ("m", places[5]),
        ("o", things[4]),
    ];
    let last = answers[right].to_owned();
    Recall { text: format!("{} {last}", fill(story.text, &values)), last }
}
