//! Twin sentences that differ in what decides who is meant (WinoGrande).

use crate::world::{
    draw::{Draw, fill},
    facts::World,
    tables::{
        ACTIONS, COLOURS, CONTAINERS, DRINKS, FOODS, HOMES, INSTRUMENTS, JOBS, MATERIALS, NAMES, PETS,
        PLACES, SMALL, THINGS,
    },
};

/// Two sentences with a gap. The first option fills the gap of the first, the second that of the second.
pub(crate) struct Twins {
    pub sentences: [String; 2],
    pub options: [String; 2],
    /// The same for both orders of the options.
    pub key: String,
}

/// A situation with `{a}` and `{b}`, and two ends of which the first tells `{a}`, the second `{b}`.
const SITUATIONS: [[&str; 3]; 8] = [
    ["today {a} gave the {f} to {b} because _", "was full.", "was hungry."],
    ["today {a} carried the {o} for {b} because _", "was strong.", "was weak."],
    ["today {a} asked {b} for the way to the {l} because _", "was lost.", "was at home there."],
    ["today {a} won the race against {b} because _", "was fast.", "was slow."],
    ["today {a} gave a warm coat to {b} because _", "was warm.", "was cold."],
    ["today {a} told {b} about the way to the {l} because _", "was at home there.", "was lost."],
    ["today {a} sold the {o} to {b} because _", "had no money.", "had much money."],
    ["today {a} taught {b} to make the {o} because _", "was old.", "was young."],
];

/// Twins of any kind.
pub(crate) fn twins(world: &World, draw: &mut Draw) -> Twins {
    match draw.below(10) {
        0..4 => traits(world, draw),
        4..6 => materials(draw),
        6 => sizes(draw),
        _ => situations(draw),
    }
}

fn twins_of(start: &str, ends: [&str; 2], options: [String; 2]) -> Twins {
    let sentences = ends.map(|end| format!("{start} {end}"));
    let key = format!("{start} {} {}", ends[0].min(ends[1]), ends[0].max(ends[1]));
    Twins { sentences, options, key }
}

fn situations(draw: &mut Draw) -> Twins {
    let [start, first, second] = draw.pick(&SITUATIONS);
    let names = draw.several(&NAMES, 2);
    let values = [
        ("a", names[0]),
        ("b", names[1]),
        ("f", *draw.pick(&FOODS)),
        ("o", *draw.pick(&SMALL)),
        ("l", *draw.pick(&PLACES)),
    ];
    twins_of(&fill(start, &values), [first, second], [names[0].to_owned(), names[1].to_owned()])
}

fn sizes(draw: &mut Draw) -> Twins {
    let container = *draw.pick(&CONTAINERS);
    let thing = draw.pick(&THINGS)[0];
    if CONTAINERS.contains(&thing) {
        return sizes(draw);
    }
    let start = format!("the {thing} did not fit into the {container} because the _");
    twins_of(&start, ["was too big.", "was too small."], [thing.to_owned(), container.to_owned()])
}

fn materials(draw: &mut Draw) -> Twins {
    let index = draw.below(ACTIONS.len());
    let things = draw.several(&THINGS, 2);
    let does = |thing: &[&str; 4]| MATERIALS.iter().find(|m| m.name == thing[2]).expect("known").does[index];
    let effects = [does(&things[0]), does(&things[1])];
    if effects[0] == effects[1] {
        return materials(draw);
    }
    let [a, b] = [things[0][0], things[1][0]];
    let start = format!("the {a} and the {b} {}. the _", ACTIONS[index].both);
    let ends = effects.map(|e| format!("{e}."));
    twins_of(&start, [&ends[0], &ends[1]], [a.to_owned(), b.to_owned()])
}

fn traits(world: &World, draw: &mut Draw) -> Twins {
    let people = draw.several(&(0..NAMES.len()).collect::<Vec<_>>(), 2);
    let people = [&world.people[people[0]], &world.people[people[1]]];
    let (start, ends): (&str, [String; 2]) = match draw.below(7) {
        0 => ("today {a} and {b} are at work. _", people.map(|p| format!("{}.", JOBS[p.job].does))),
        1 => ("today {a} and {b} are thirsty. _", people.map(|p| format!("drinks {}.", DRINKS[p.drink]))),
        2 => ("today {a} and {b} are hungry. _", people.map(|p| format!("eats {}.", FOODS[p.food]))),
        3 => (
            "today {a} and {b} play music. _",
            people.map(|p| format!("plays the {}.", INSTRUMENTS[p.instrument])),
        ),
        4 => ("today {a} and {b} go home. _", people.map(|p| format!("lives {}.", HOMES[p.home]))),
        5 => ("today {a} and {b} feed their pets. _", people.map(|p| format!("has a {}.", PETS[p.pet]))),
        _ => (
            "today {a} and {b} buy paint. _",
            people.map(|p| format!("likes the colour {}.", COLOURS[p.colour])),
        ),
    };
    if ends[0] == ends[1] {
        return traits(world, draw);
    }
    let names = people.map(|p| p.name);
    let start = fill(start, &[("a", names[0]), ("b", names[1])]);
    twins_of(&start, [&ends[0], &ends[1]], names.map(str::to_owned))
}
