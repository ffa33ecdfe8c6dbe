//! Turns a panic of somebody else's code into an error value.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; a panic becomes its message, and nothing is printed. Only panics on this thread are contained.
///
/// For decoders that panic on some damaged input. `work` must own what it changes, so that nothing half-changed is
/// seen afterwards.
pub(crate) fn contain<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |info| {
            if !QUIET.get() {
                previous(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(false);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it cannot be decoded");
        Err(text.lines().next().unwrap_or_default().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_messages() {
        assert_eq!(contain(|| Ok(1)), Ok(1));
        assert_eq!(contain::<()>(|| panic!("index {} is out", 3)), Err("index 3 is out".into()));
        assert_eq!(contain::<()>(|| panic!("plain")), Err("plain".into()));
        assert_eq!(contain::<()>(|| Err("said".into())), Err("said".into()));
    }
}
