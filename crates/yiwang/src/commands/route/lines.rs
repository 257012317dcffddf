//! Lines of an input in large blocks, without a copy a line.

use std::io::Read;

use anyhow::{Context, bail};

/// What is read at once.
const BLOCK_BYTES: usize = 1 << 20;
/// Longest line.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Reads blocks of whole lines.
pub struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are filled, and those of them that were handed out.
    filled: usize,
    done: usize,
    ended: bool,
    /// Lines before the present block.
    count: u64,
}

impl<R: Read> Lines<R> {
    /// At the first line.
    pub fn new(input: R) -> Self {
        Self { input, buffer: vec![0; BLOCK_BYTES], filled: 0, done: 0, ended: false, count: 0 }
    }

    /// The next lines without their ends; the last one needs none. `None` at the end of the input.
    ///
    /// # Errors
    /// The input cannot be read, or a line is too long.
    pub fn next_block(&mut self) -> anyhow::Result<Option<impl Iterator<Item = &[u8]>>> {
        self.buffer.copy_within(self.done..self.filled, 0);
        self.filled -= self.done;
        self.done = 0;
        while !self.ended {
            let read = self.read().context("failed to read standard input")?;
            self.ended = read == 0;
            let fresh = &self.buffer[self.filled..self.filled + read];
            let end = memchr::memrchr(b'\n', fresh).map(|at| self.filled + at + 1);
            self.filled += read;
            if let Some(end) = end {
                self.done = end;
                break;
            }
            if self.filled == self.buffer.len() {
                if self.filled >= LINE_BYTES_MAX {
                    bail!("line {} is longer than {LINE_BYTES_MAX} bytes", self.count + 1);
                }
                self.buffer.resize(self.filled * 2, 0);
            }
        }
        if self.ended {
            self.done = self.filled;
        }
        let block = &self.buffer[..self.done];
        self.count += memchr::memchr_iter(b'\n', block).count() as u64;
        let text = block.strip_suffix(b"\n").unwrap_or(block);
        Ok((!block.is_empty()).then_some(Split { rest: Some(text) }))
    }

    fn read(&mut self) -> std::io::Result<usize> {
        loop {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

/// The parts of a text between its line feeds.
struct Split<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        match memchr::memchr(b'\n', rest) {
            Some(at) => {
                self.rest = Some(&rest[at + 1..]);
                Some(&rest[..at])
            }
            None => self.rest.take(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte at a time, as a slow pipe does.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.len().min(1);
            to[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn all(input: impl Read) -> Vec<String> {
        let mut lines = Lines::new(input);
        let mut all = Vec::new();
        while let Some(block) = lines.next_block().unwrap() {
            all.extend(block.map(|line| String::from_utf8(line.to_vec()).unwrap()));
        }
        all
    }

    #[test]
    fn every_line_comes_once() {
        for text in ["", "a", "a\n", "\n", "a\n\nb", "a\nb\n"] {
            let expected: Vec<_> = text.split_terminator('\n').map(str::to_owned).collect();
            assert_eq!(all(text.as_bytes()), expected, "{text:?}");
            assert_eq!(all(Drip(text.as_bytes())), expected, "{text:?} byte by byte");
        }
    }

    #[test]
    fn a_line_may_be_longer_than_a_block() {
        let long = "x".repeat(3 * BLOCK_BYTES);
        let text = format!("a\n{long}\nb");
        assert_eq!(all(text.as_bytes()), ["a", long.as_str(), "b"]);
        let mut endless = Lines::new(std::io::repeat(b'x'));
        let error = endless.next_block().err().expect("it is too long").to_string();
        assert!(error.starts_with("line 1 is longer"), "{error}");
    }
}
