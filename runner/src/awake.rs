//! Keeps the threads of the pool awake between the products of a token.
//!
//! A token is some hundred products of ten to a hundred microseconds with short pieces of work of one thread
//! between them. A thread that falls asleep in each of those takes longer to wake than the next product takes.

use std::{
    hint,
    num::NonZeroUsize,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rayon::{Scope, Yield};

/// Pauses between two looks for work: together about a microsecond.
const PAUSES: usize = 32;

/// Looks for work before a thread returns to what it may have interrupted.
const LOOKS: usize = 8;

/// Runs `f`, which starts many short parallel operations one after the other, while the other threads of the
/// current pool look for work instead of sleeping. Outside a pool it only runs `f`.
pub(crate) fn awake<T>(f: impl FnOnce() -> T) -> T {
    let Some(owner) = rayon::current_thread_index() else { return f() };
    let done = AtomicBool::new(false);
    rayon::in_place_scope(|scope| {
        for _ in 1..rayon::current_num_threads().min(processors()) {
            scope.spawn(|scope| look_for_work(scope, &done, owner));
        }
        // Also if `f` panics.
        let _done = SetOnDrop(&done);
        f()
    })
}

/// Does what others hand out until `done`. A thread may pick this up while something else on its stack waits for
/// others, so it returns after some microseconds and leaves the rest to a task of its own.
fn look_for_work<'scope>(scope: &Scope<'scope>, done: &'scope AtomicBool, owner: usize) {
    // The owner, which waits for a part of its own work, leaves this to the others at once.
    let looks = if rayon::current_thread_index() == Some(owner) { 0 } else { LOOKS };
    if done.load(Ordering::Acquire) {
        return;
    }
    for _ in 0..looks {
        if done.load(Ordering::Acquire) {
            return;
        }
        if rayon::yield_now() != Some(Yield::Executed) {
            (0..PAUSES).for_each(|_| hint::spin_loop());
        }
    }
    // Where other programs want the processor, they get it.
    thread::yield_now();
    scope.spawn(move |scope| look_for_work(scope, done, owner));
}

/// Threads that can run at the same time: others would only take the processor from those that work.
fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| thread::available_parallelism().map_or(1, NonZeroUsize::get))
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    #[test]
    fn work_is_done_and_ends() {
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let sum = || (0..100).map(|_| (0..1000u64).into_par_iter().sum::<u64>()).sum::<u64>();
            assert_eq!(pool.install(|| awake(sum)), 100 * 499_500);
            // Several at once, in one pool.
            let sums: u64 = pool.install(|| (0..4).into_par_iter().map(|_| awake(sum)).sum());
            assert_eq!(sums, 400 * 499_500);
        }
        assert_eq!(awake(|| 7), 7);
    }

    #[test]
    fn a_panic_passes_through() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let panics = std::panic::AssertUnwindSafe(|| pool.install(|| awake(|| panic!("in the middle"))));
        let result = std::panic::catch_unwind(panics);
        assert!(result.is_err());
    }
}
