use super::*;
use crate::world::{blocks, facts::world};

/// One block of each kind, as a reader sees it.
#[test]
fn a_block_of_each_kind() {
    let mut draw = Draw::new("samples", 0);
    let block = |(kind, _)| format!("--- {kind:?}\n{}\n", blocks::block(world(), &mut draw, kind));
    let blocks: String = blocks::KINDS.into_iter().map(block).collect();
    insta::assert_snapshot!(blocks);
}

#[test]
fn a_document() {
    insta::assert_snapshot!(documents(Part::HeldOut, 0).next().unwrap());
}

/// The first three items of each task.
#[test]
fn items_of_each_task() {
    let items = |task: &str| dataset(task).unwrap().lines().take(3).collect::<Vec<_>>().join("\n");
    let items = TASKS.iter().filter(|t| **t != "desk").map(|task| format!("--- {task}\n{}\n", items(task)));
    insta::assert_snapshot!(items.collect::<String>());
}
