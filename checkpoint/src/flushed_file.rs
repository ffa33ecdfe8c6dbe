//! A file whose bytes go to the disk while more of them are made.
//!
//! Everything is flushed to the disk before a file gets its final name. Left to the end, gigabytes wait
//! for the disk while nothing computes; so a thread flushes what is there after each part.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    thread::JoinHandle,
};

/// Bytes between two flushes.
const STEP: u64 = 64 << 20;

/// See the module. `flush` waits for the thread, and tells its error.
#[derive(Debug)]
pub struct FlushedFile {
    file: File,
    unflushed: u64,
    running: Option<JoinHandle<io::Result<()>>>,
}

impl FlushedFile {
    pub(crate) fn new(file: File) -> Self {
        Self { file, unflushed: 0, running: None }
    }

    fn begin_flush(&mut self) -> io::Result<()> {
        if self.running.as_ref().is_some_and(|thread| !thread.is_finished()) {
            // The next one takes these bytes too.
            return Ok(());
        }
        self.join()?;
        self.unflushed = 0;
        let file = self.file.try_clone()?;
        let flush = move || file.sync_data();
        self.running = Some(std::thread::Builder::new().name("flush".to_owned()).spawn(flush)?);
        Ok(())
    }

    fn join(&mut self) -> io::Result<()> {
        match self.running.take() {
            // A flush does not panic.
            Some(thread) => thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())),
            None => Ok(()),
        }
    }
}

impl Write for FlushedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unflushed += written as u64;
        if self.unflushed >= STEP {
            self.begin_flush()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.join()?;
        self.file.flush()
    }
}

impl Seek for FlushedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_there() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let mut file = FlushedFile::new(path.reopen().unwrap());
        let part = vec![7u8; 40 << 20];
        for _ in 0..4 {
            file.write_all(&part).unwrap();
        }
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(b"head").unwrap();
        file.flush().unwrap();
        let bytes = std::fs::read(path.path()).unwrap();
        assert_eq!(bytes.len(), 4 * part.len());
        assert_eq!(&bytes[..5], b"head\x07");
        assert!(bytes[5..].iter().all(|&b| b == 7));
    }
}
