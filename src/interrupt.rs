//! Ctrl-C ends a generation or training, not the program; a second one, or one while nothing of the kind runs, kills.

use std::sync::atomic::{AtomicU8, Ordering};

const IDLE: u8 = 0;
const WORKING: u8 = 1;
const INTERRUPTED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(IDLE);

/// The shell's code for a program that an interrupt killed.
const KILLED: i32 = 130;

/// From now on, Ctrl-C is caught while a [`Interruptible`] lives.
pub fn catch() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        let to = |from, to| STATE.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if !to(WORKING, INTERRUPTED) {
            std::process::exit(KILLED);
        }
    })?;
    Ok(())
}

/// While this lives, the first Ctrl-C is only noted.
pub struct Interruptible(());

impl Interruptible {
    /// Begins.
    pub fn new() -> Self {
        STATE.store(WORKING, Ordering::SeqCst);
        Self(())
    }

    /// Whether Ctrl-C came.
    #[allow(clippy::unused_self, reason = "there is an answer only while it lives")]
    pub fn interrupted(&self) -> bool {
        STATE.load(Ordering::SeqCst) == INTERRUPTED
    }
}

impl Drop for Interruptible {
    fn drop(&mut self) {
        STATE.store(IDLE, Ordering::SeqCst);
    }
}
