//! A slice that several threads write, each its own parts.

use std::{marker::PhantomData, ops::Range};

/// A slice whose parts are handed out by index, where `chunks_mut` cannot say how it is divided: rows
/// of a column-major matrix, tiles of a chunked one.
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it hands out `&mut [T]` to one thread at a time per element (the callers' promise), which is
// sending them.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}
// SAFETY: as a `&mut [T]`.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// A part of the slice.
    ///
    /// # Panics
    /// The range exceeds the slice.
    ///
    /// # Safety
    /// As long as the part lives, no other part with an element of the range does.
    #[expect(clippy::mut_from_ref, reason = "the caller promises that parts do not overlap")]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} elements", self.len);
        // SAFETY: inside the slice, which is borrowed for 'a; nobody else has these elements.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_the_slice() {
        let mut slice = [0, 1, 2, 3, 4];
        let disjoint = Disjoint::new(&mut slice);
        // SAFETY: two parts that do not overlap.
        let (low, high) = unsafe { (disjoint.part(0..2), disjoint.part(2..5)) };
        low[1] = 7;
        high[2] = 9;
        assert_eq!(slice, [0, 7, 2, 3, 9]);
    }

    #[test]
    #[should_panic(expected = "4..6 of 5 elements")]
    fn parts_stay_inside() {
        let mut slice = [0; 5];
        let disjoint = Disjoint::new(&mut slice);
        // SAFETY: the only part.
        let _ = unsafe { disjoint.part(4..6) };
    }
}
