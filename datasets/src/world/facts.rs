//! The facts of the world, and how they are said and asked.

mod one_hop;
mod two_hops;

use std::sync::OnceLock;

use super::{
    draw::{Draw, fill, hash},
    tables::{COLOURS, DRINKS, FOODS, HOMES, INSTRUMENTS, JOBS, NAMES, PETS, THINGS},
};

/// A person with the traits that tables do not fix; each is an index into its table.
pub(super) struct Person {
    pub name: &'static str,
    pub job: usize,
    pub home: usize,
    pub pet: usize,
    pub drink: usize,
    pub food: usize,
    pub colour: usize,
    pub instrument: usize,
}

impl Person {
    /// "she" or "he".
    pub(super) fn pronoun(&self) -> &'static str {
        pronoun(self.name)
    }
}

pub(super) fn is_woman(name: &str) -> bool {
    NAMES[..NAMES.len() / 2].contains(&name)
}

/// "she" or "he".
pub(super) fn pronoun(name: &str) -> &'static str {
    if is_woman(name) { "she" } else { "he" }
}

/// "her" or "his".
pub(super) fn possessive(name: &str) -> &'static str {
    if is_woman(name) { "her" } else { "his" }
}

/// What facts of one sort have in common.
pub(super) struct Relation {
    pub name: String,
    /// Templates with the subject `{x}`, the value `{v}`, a pronoun `{s}` and the middle term `{w}` of two hops.
    statements: Vec<String>,
    /// Templates with `{x}`.
    questions: Vec<String>,
    /// The answer: a template with `{v}` and `{s}`.
    answer: String,
    /// All values that facts of this relation have, in order of first use.
    pub values: Vec<String>,
    /// For each value, the facts that have it.
    pub holders: Vec<Vec<usize>>,
}

/// One fact: `value` is the only value of its relation that is true of `subject`, except for those in `also`.
pub(super) struct Fact {
    pub relation: usize,
    pub subject: String,
    pub value: String,
    /// What connects the two where the fact follows from two others: "glass" between "the jar" and "breaks".
    pub middle: String,
    pronoun: &'static str,
    /// Values that nobody would call wrong either.
    pub also: Vec<String>,
}

/// Everything that is true.
pub(super) struct World {
    pub people: Vec<Person>,
    /// Colour of each thing.
    pub colours: Vec<usize>,
    pub relations: Vec<Relation>,
    pub facts: Vec<Fact>,
    /// The relations of one fact, then those of two.
    pub easy: Vec<usize>,
    pub hard: Vec<usize>,
    /// Facts of one hop by subject, in the order people, things, animals, jobs, materials.
    pub subjects: [Vec<Vec<usize>>; 5],
}

/// The world. There is one, whatever the seed of a text.
pub(super) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::new)
}

impl World {
    fn new() -> Self {
        let mut draw = Draw::new("the small world", 0);
        let people = people(&mut draw);
        let colours = spread(&mut draw, THINGS.len(), COLOURS.len());
        let mut world = Self {
            people,
            colours,
            relations: Vec::new(),
            facts: Vec::new(),
            easy: Vec::new(),
            hard: Vec::new(),
            subjects: Default::default(),
        };
        world.one_hop();
        world.easy = (0..world.relations.len()).collect();
        world.two_hops();
        world.hard = (world.easy.len()..world.relations.len()).collect();
        world
    }

    fn relation(&mut self, name: &str, statements: &[&str], questions: &[&str], answer: &str) {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        self.relations.push(Relation {
            name: name.to_owned(),
            statements: owned(statements),
            questions: owned(questions),
            answer: answer.to_owned(),
            values: Vec::new(),
            holders: Vec::new(),
        });
    }

    /// Adds a fact to the last relation.
    fn fact(&mut self, subject: String, value: &str, pronoun: &'static str, middle: &str) {
        let index = self.facts.len();
        let relation = self.relations.len() - 1;
        let kind = &mut self.relations[relation];
        if let Some(place) = kind.values.iter().position(|v| v == value) {
            kind.holders[place].push(index);
        } else {
            kind.values.push(value.to_owned());
            kind.holders.push(vec![index]);
        }
        let (value, middle) = (value.to_owned(), middle.to_owned());
        self.facts.push(Fact { relation, subject, value, middle, pronoun, also: Vec::new() });
    }

    /// One relation of people: `value` gives each person's value.
    fn of_people(
        &mut self,
        name: &str,
        statements: &[&str],
        questions: &[&str],
        answer: &str,
        value: impl Fn(&Person) -> (String, String),
    ) {
        self.relation(name, statements, questions, answer);
        for i in 0..self.people.len() {
            let (value, middle) = value(&self.people[i]);
            let (name, pronoun) = (self.people[i].name, self.people[i].pronoun());
            self.fact(name.to_owned(), &value, pronoun, &middle);
        }
    }

    /// One relation of whatever `rows` lists: subject and value.
    fn of(
        &mut self,
        name: &str,
        statements: &[&str],
        questions: &[&str],
        answer: &str,
        rows: impl IntoIterator<Item = (String, String)>,
    ) {
        self.relation(name, statements, questions, answer);
        for (subject, value) in rows {
            self.fact(subject, &value, "it", "");
        }
    }

    /// All sentences that say a fact.
    pub(super) fn sentences(&self, fact: usize) -> Vec<String> {
        let fact = &self.facts[fact];
        let values = [("x", &*fact.subject), ("v", &*fact.value), ("s", fact.pronoun), ("w", &*fact.middle)];
        self.relations[fact.relation].statements.iter().map(|template| fill(template, &values)).collect()
    }

    /// All questions whose answer the fact is.
    pub(super) fn questions(&self, fact: usize) -> Vec<String> {
        let fact = &self.facts[fact];
        self.relations[fact.relation].questions.iter().map(|q| fill(q, &[("x", &fact.subject)])).collect()
    }

    /// The words of an answer: `value` is the fact's own or another of its relation.
    pub(super) fn answer(&self, fact: usize, value: &str) -> String {
        let fact = &self.facts[fact];
        fill(&self.relations[fact.relation].answer, &[("v", value), ("s", fact.pronoun)])
    }

    /// One of the sentences that say a fact.
    pub(super) fn say(&self, draw: &mut Draw, fact: usize) -> String {
        draw.pick(&self.sentences(fact)).clone()
    }

    /// One of the questions whose answer the fact is.
    pub(super) fn ask(&self, draw: &mut Draw, fact: usize) -> String {
        draw.pick(&self.questions(fact)).clone()
    }

    /// Whether a fact of two hops is told. Half of them are; the others have to be inferred.
    pub(super) fn told(&self, fact: usize) -> bool {
        let fact = &self.facts[fact];
        hash(&format!("told: {} of {}", self.relations[fact.relation].name, fact.subject)).is_multiple_of(2)
    }
}

/// `count` members of 0..values, each equally often up to one, in random order.
fn spread(draw: &mut Draw, count: usize, values: usize) -> Vec<usize> {
    let mut list: Vec<usize> = (0..count).map(|i| i % values).collect();
    draw.shuffle(&mut list);
    list
}

fn people(draw: &mut Draw) -> Vec<Person> {
    let mut column = |values: usize| spread(draw, NAMES.len(), values);
    let (job, home, pet, drink) =
        (column(JOBS.len()), column(HOMES.len()), column(PETS.len()), column(DRINKS.len()));
    let (food, colour, instrument) = (column(FOODS.len()), column(COLOURS.len()), column(INSTRUMENTS.len()));
    let person = |i: usize| Person {
        name: NAMES[i],
        job: job[i],
        home: home[i],
        pet: pet[i],
        drink: drink[i],
        food: food[i],
        colour: colour[i],
        instrument: instrument[i],
    };
    (0..NAMES.len()).map(person).collect()
}
