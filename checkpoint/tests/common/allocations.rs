//! Counts the memory that a piece of code takes, on its own thread.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    /// Bytes in use by this thread, and the most since the last measurement began.
    static IN_USE: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

struct Counting;

fn count(bytes: isize) {
    // A thread that is ending has no counter any more.
    let _ = IN_USE.try_with(|counter| {
        let (now, peak) = counter.get();
        counter.set((now + bytes, peak.max(now + bytes)));
    });
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    // The default `realloc` allocates, copies and frees: it counts both blocks, as a real one may need.
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `f` returns, and by how many bytes its memory grew at most.
pub fn peak<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let start = IN_USE.with(|counter| {
        let (now, _) = counter.get();
        counter.set((now, now));
        now
    });
    let value = f();
    let (_, most) = IN_USE.with(Cell::get);
    (value, (most - start) as usize)
}
