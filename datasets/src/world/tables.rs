//! The tables of the small world: who and what there is, in words that are one token each.

/// First names; the first half are women's.
pub(super) const NAMES: [&str; 40] = [
    "ada", "amy", "bea", "clara", "eva", "fay", "gia", "ida", "ivy", "kim", "lea", "mia", "nora", "olga",
    "rosa", "sara", "tess", "una", "vera", "zoe", "adam", "ben", "carl", "dan", "emil", "finn", "gus",
    "hugo", "ian", "jack", "leo", "max", "nils", "otto", "paul", "rob", "sam", "tom", "victor", "yan",
];

pub(super) const HOMES: [&str; 8] = [
    "by the river",
    "by the lake",
    "on the hill",
    "near the forest",
    "near the bridge",
    "by the sea",
    "in the valley",
    "near the tower",
];
pub(super) const PETS: [&str; 10] =
    ["dog", "cat", "rabbit", "duck", "hen", "goat", "crow", "lizard", "carp", "snake"];
pub(super) const DRINKS: [&str; 5] = ["tea", "milk", "juice", "cocoa", "water"];
pub(super) const FOODS: [&str; 8] = ["cake", "cheese", "soup", "bread", "honey", "fish", "rice", "pie"];
pub(super) const COLOURS: [&str; 8] = ["red", "blue", "green", "yellow", "black", "white", "brown", "grey"];
pub(super) const INSTRUMENTS: [&str; 8] =
    ["flute", "drum", "violin", "harp", "horn", "piano", "guitar", "trumpet"];

/// Where episodes happen: each goes with "at the".
pub(super) const PLACES: [&str; 12] = [
    "market", "mill", "bridge", "tower", "harbour", "school", "church", "inn", "lake", "river", "well",
    "gate",
];
pub(super) const CONTAINERS: [&str; 8] = ["box", "basket", "chest", "bag", "drawer", "jar", "bucket", "pot"];
/// Things that one carries in a hand.
pub(super) const SMALL: [&str; 24] = [
    "key", "ring", "coin", "spoon", "letter", "card", "needle", "pen", "ball", "doll", "marble", "sock",
    "cap", "glove", "belt", "scarf", "chain", "book", "map", "knife", "fork", "cup", "bell", "flute",
];

/// A job: its name, where it is done, with what, and what is done.
pub(super) struct Job {
    pub name: &'static str,
    pub place: &'static str,
    pub tool: &'static str,
    pub does: &'static str,
}

const fn job(name: &'static str, place: &'static str, tool: &'static str, does: &'static str) -> Job {
    Job { name, place, tool, does }
}

pub(super) const JOBS: [Job; 10] = [
    job("baker", "in the bakery", "the oven", "bakes bread"),
    job("farmer", "in the field", "the plough", "grows corn"),
    job("doctor", "in the hospital", "the bandage", "heals people"),
    job("teacher", "in the school", "the chalk", "teaches children"),
    job("fisher", "in the harbour", "the net", "catches fish"),
    job("carpenter", "in the workshop", "the saw", "builds tables"),
    job("painter", "in the studio", "the brush", "paints pictures"),
    job("tailor", "in the shop", "the needle", "sews coats"),
    job("gardener", "in the garden", "the spade", "plants roses"),
    job("smith", "in the forge", "the hammer", "makes nails"),
];

/// An animal: name, kind, food, home, what covers it, how it moves.
pub(super) type Animal = [&'static str; 6];

pub(super) const ANIMALS: [Animal; 22] = [
    ["dog", "mammal", "meat", "house", "fur", "runs"],
    ["cat", "mammal", "fish", "house", "fur", "jumps"],
    ["mouse", "mammal", "seeds", "house", "fur", "runs"],
    ["rabbit", "mammal", "grass", "meadow", "fur", "jumps"],
    ["goat", "mammal", "grass", "farm", "fur", "jumps"],
    ["horse", "mammal", "grass", "farm", "fur", "runs"],
    ["cow", "mammal", "grass", "farm", "fur", "walks"],
    ["sheep", "mammal", "grass", "farm", "wool", "walks"],
    ["fox", "mammal", "meat", "forest", "fur", "runs"],
    ["wolf", "mammal", "meat", "forest", "fur", "runs"],
    ["bear", "mammal", "honey", "forest", "fur", "walks"],
    ["owl", "bird", "meat", "forest", "feathers", "flies"],
    ["eagle", "bird", "fish", "mountain", "feathers", "flies"],
    ["crow", "bird", "seeds", "meadow", "feathers", "flies"],
    ["duck", "bird", "seeds", "lake", "feathers", "swims"],
    ["hen", "bird", "seeds", "farm", "feathers", "walks"],
    ["carp", "fish", "insects", "lake", "scales", "swims"],
    ["trout", "fish", "insects", "river", "scales", "swims"],
    ["snake", "reptile", "meat", "meadow", "scales", "crawls"],
    ["lizard", "reptile", "insects", "mountain", "scales", "crawls"],
    ["bee", "insect", "honey", "meadow", "hair", "flies"],
    ["ant", "insect", "seeds", "forest", "hair", "crawls"],
];

/// What one does to a thing.
pub(super) struct Action {
    /// Goes after what the thing does: "the cup breaks on the hard floor".
    pub place: &'static str,
    /// What a person does, with `{p}` and the thing `{x}`.
    pub event: &'static str,
    /// What happens to two things, after their names.
    pub both: &'static str,
}

pub(super) const ACTIONS: [Action; 5] = [
    Action {
        place: "in deep water",
        event: "today {p} throws {x} into deep water.",
        both: "are in deep water",
    },
    Action {
        place: "on the hard floor",
        event: "today {p} drops {x} on the hard floor.",
        both: "fall on the hard floor",
    },
    Action { place: "in the fire", event: "today {p} throws {x} into the fire.", both: "are in the fire" },
    Action {
        place: "under the hammer",
        event: "today {p} puts {x} under the hammer.",
        both: "are under the hammer",
    },
    Action {
        place: "in the long rain",
        event: "today {p} leaves {x} in the long rain.",
        both: "are in the long rain",
    },
];

/// A material: what it does under each of the [`ACTIONS`], how it feels, where it comes from.
pub(super) struct Material {
    pub name: &'static str,
    pub adjective: &'static str,
    pub does: [&'static str; 5],
    pub feels: &'static str,
    pub from: &'static str,
}

const fn material(
    name: &'static str,
    adjective: &'static str,
    does: [&'static str; 5],
    feels: &'static str,
    from: &'static str,
) -> Material {
    Material { name, adjective, does, feels, from }
}

pub(super) const MATERIALS: [Material; 10] = [
    material("wood", "wooden", ["floats", "knocks", "burns", "splits", "rots"], "rough", "from trees"),
    material("iron", "iron", ["sinks", "rings", "glows", "bends", "rusts"], "hard", "from mines"),
    material("glass", "glass", ["sinks", "breaks", "melts", "shatters", "shines"], "smooth", "from sand"),
    material("wool", "wool", ["soaks", "flops", "smokes", "flattens", "shrinks"], "soft", "from sheep"),
    material("paper", "paper", ["softens", "flops", "burns", "flattens", "rots"], "thin", "from trees"),
    material("clay", "clay", ["sinks", "breaks", "hardens", "shatters", "lasts"], "rough", "from rivers"),
    material("gold", "gold", ["sinks", "rings", "melts", "bends", "shines"], "hard", "from mines"),
    material("leather", "leather", ["soaks", "flops", "smokes", "flattens", "fades"], "smooth", "from cows"),
    material("stone", "stone", ["sinks", "knocks", "cracks", "chips", "lasts"], "hard", "from hills"),
    material("cotton", "cotton", ["soaks", "flops", "burns", "flattens", "fades"], "soft", "from fields"),
];

/// A thing: name, category, material, where it is kept. Its colour is drawn.
pub(super) type Thing = [&'static str; 4];

pub(super) const THINGS: [Thing; 64] = [
    ["cup", "dish", "clay", "kitchen"],
    ["plate", "dish", "clay", "kitchen"],
    ["bowl", "dish", "wood", "kitchen"],
    ["spoon", "dish", "wood", "kitchen"],
    ["fork", "dish", "iron", "kitchen"],
    ["pan", "dish", "iron", "kitchen"],
    ["pot", "dish", "iron", "cellar"],
    ["kettle", "dish", "iron", "cellar"],
    ["jug", "dish", "glass", "cellar"],
    ["bottle", "dish", "glass", "cellar"],
    ["jar", "dish", "glass", "cellar"],
    ["mortar", "dish", "stone", "cellar"],
    ["knife", "tool", "iron", "kitchen"],
    ["hammer", "tool", "iron", "shed"],
    ["saw", "tool", "iron", "shed"],
    ["axe", "tool", "iron", "barn"],
    ["spade", "tool", "iron", "barn"],
    ["ladder", "tool", "wood", "barn"],
    ["rope", "tool", "cotton", "barn"],
    ["net", "tool", "cotton", "shed"],
    ["broom", "tool", "wood", "shed"],
    ["brush", "tool", "wood", "shed"],
    ["bucket", "tool", "wood", "barn"],
    ["basket", "tool", "wood", "barn"],
    ["needle", "tool", "iron", "study"],
    ["key", "tool", "iron", "hall"],
    ["lamp", "tool", "glass", "study"],
    ["pen", "tool", "gold", "study"],
    ["hat", "garment", "wool", "hall"],
    ["scarf", "garment", "wool", "hall"],
    ["coat", "garment", "wool", "hall"],
    ["sock", "garment", "wool", "bedroom"],
    ["shirt", "garment", "cotton", "bedroom"],
    ["dress", "garment", "cotton", "bedroom"],
    ["cap", "garment", "cotton", "hall"],
    ["boot", "garment", "leather", "hall"],
    ["glove", "garment", "leather", "hall"],
    ["belt", "garment", "leather", "bedroom"],
    ["table", "furniture", "wood", "kitchen"],
    ["chair", "furniture", "wood", "study"],
    ["bed", "furniture", "wood", "bedroom"],
    ["shelf", "furniture", "wood", "study"],
    ["bench", "furniture", "stone", "hall"],
    ["mirror", "furniture", "glass", "bedroom"],
    ["ball", "toy", "leather", "attic"],
    ["doll", "toy", "cotton", "attic"],
    ["kite", "toy", "paper", "attic"],
    ["puppet", "toy", "wood", "attic"],
    ["marble", "toy", "glass", "attic"],
    ["card", "toy", "paper", "attic"],
    ["sled", "toy", "wood", "shed"],
    ["flute", "instrument", "wood", "study"],
    ["drum", "instrument", "leather", "attic"],
    ["bell", "instrument", "iron", "hall"],
    ["horn", "instrument", "gold", "cellar"],
    ["ring", "jewel", "gold", "bedroom"],
    ["crown", "jewel", "gold", "bedroom"],
    ["chain", "jewel", "gold", "bedroom"],
    ["coin", "jewel", "gold", "attic"],
    ["book", "writing", "paper", "study"],
    ["letter", "writing", "paper", "study"],
    ["map", "writing", "paper", "attic"],
    ["statue", "ornament", "stone", "hall"],
    ["vase", "ornament", "clay", "hall"],
];

/// A tool and what it is for. Tools of one group can stand in for each other, so that none of them is a wrong
/// answer where another is right.
pub(super) struct Use {
    pub tool: &'static str,
    pub group: &'static str,
    /// What it is for. The first is the use that is told as a fact.
    pub goals: &'static [&'static str],
}

const fn tool(tool: &'static str, group: &'static str, goals: &'static [&'static str]) -> Use {
    Use { tool, group, goals }
}

pub(super) const USES: [Use; 22] = [
    tool("knife", "cut", &["cut the bread", "cut the cheese", "cut the cake"]),
    tool("axe", "cut", &["chop the wood", "chop the log", "chop the branch"]),
    tool("saw", "cut", &["saw the board", "saw the beam"]),
    tool("hammer", "hammer", &["hit the nail", "hit the peg"]),
    tool("spoon", "spoon", &["stir the soup", "stir the tea", "stir the porridge"]),
    tool("broom", "broom", &["sweep the floor", "sweep the yard", "sweep the hall"]),
    tool("brush", "brush", &["paint the wall", "paint the door", "paint the fence"]),
    tool("needle", "needle", &["sew the coat", "sew the shirt", "sew the dress"]),
    tool("spade", "spade", &["dig the hole", "dig the ditch", "dig the well"]),
    tool("ladder", "ladder", &["climb to the roof", "climb to the nest", "climb to the window"]),
    tool("rope", "rope", &["tie the boat", "tie the horse", "tie the goat"]),
    tool("bucket", "carry", &["carry the water", "carry the milk", "carry the sand"]),
    tool("basket", "carry", &["gather the apples", "gather the eggs", "gather the berries"]),
    tool("kettle", "heat", &["boil the water", "make the tea"]),
    tool("pan", "heat", &["fry the eggs", "fry the fish", "fry the meat"]),
    tool("pot", "heat", &["cook the soup", "cook the rice", "cook the porridge"]),
    tool("key", "key", &["open the door", "open the gate", "open the lock"]),
    tool("lamp", "lamp", &["see in the cave", "see in the dark", "read at night"]),
    tool("net", "net", &["catch the fish", "catch the trout", "catch the carp"]),
    tool("pen", "pen", &["write the letter", "write the story", "write the song"]),
    tool("map", "map", &["find the way", "find the road", "find the path"]),
    tool("coin", "coin", &["pay the baker", "pay the tailor", "pay the smith"]),
];

/// A cause with persons `{p}`, `{s}` (she or he), `{h}` (her or his) and a place `{l}`; its effect.
pub(super) struct Cause {
    pub before: &'static str,
    pub effect: &'static str,
    /// Other effects that might well come of it, so that they are not wrong.
    pub also: &'static [&'static str],
}

const fn cause(before: &'static str, effect: &'static str, also: &'static [&'static str]) -> Cause {
    Cause { before, effect, also }
}

pub(super) const CAUSES: [Cause; 20] = [
    cause("it rained all night at the {l}. now the ground is", "wet", &["muddy", "cold", "dirty", "clean"]),
    cause(
        "the sun shone all week at the {l}. now the ground is",
        "dry",
        &["hot", "dusty", "dirty", "clean", "thirsty"],
    ),
    cause("the night was very cold at the {l}. now the water is", "frozen", &["cold", "clean"]),
    cause("the carts drove past the {l} all summer. now the road is", "dusty", &["dry", "dirty", "hot"]),
    cause(
        "today {p} has not eaten since the morning. now {s} is",
        "hungry",
        &["thirsty", "tired", "sad", "angry", "cold"],
    ),
    cause(
        "today {p} ate six plates of food at the {l}. now {s} is",
        "full",
        &["happy", "tired", "asleep", "hot"],
    ),
    cause(
        "today {p} ran to the {l} without a drink. now {s} is",
        "thirsty",
        &["tired", "hot", "hungry", "dry", "dirty", "muddy", "wet", "dusty"],
    ),
    cause(
        "today {p} worked at the {l} day and night. now {s} is",
        "tired",
        &["asleep", "hungry", "thirsty", "sad", "dirty", "angry", "cold", "dusty", "muddy", "hot", "wet"],
    ),
    cause(
        "today {p} went to bed after a long day. now {s} is",
        "asleep",
        &["tired", "full", "happy", "clean", "dry"],
    ),
    cause(
        "today {p} stood in the snow at the {l} without a coat. now {s} is",
        "cold",
        &["wet", "frozen", "sad", "tired", "angry", "hungry"],
    ),
    cause(
        "today {p} sits next to the great fire. now {s} is",
        "hot",
        &["dry", "happy", "thirsty", "tired", "dirty"],
    ),
    cause("today {p} fell into the mud at the {l}. now {h} coat is", "muddy", &["dirty", "wet", "cold"]),
    cause("today {p} washed {h} hands at the {l}. now {h} hands are", "clean", &["wet", "cold"]),
    cause(
        "today {p} cleaned the stove with {h} bare hands. now {h} hands are",
        "dirty",
        &["dusty", "hot", "dry", "muddy"],
    ),
    cause("today {p} lost {h} dear friend at the {l}. now {s} is", "sad", &["angry", "afraid", "tired"]),
    cause("today {p} got a fine gift at the {l}. now {s} is", "happy", &[]),
    cause(
        "today {p} heard a wolf in the dark near the {l}. now {s} is",
        "afraid",
        &["cold", "sad", "angry", "tired"],
    ),
    cause(
        "today a thief stole the purse of {p} at the {l}. now {s} is",
        "angry",
        &["sad", "afraid", "hungry", "tired"],
    ),
    cause(
        "today {p} left the milk in the sun at the {l}. now the milk is",
        "sour",
        &["hot", "dry", "dirty", "dusty"],
    ),
    cause("today {p} put honey into the tea at the {l}. now the tea is", "sweet", &["hot", "clean", "full"]),
];
