//! Inputs without coverage: others, edited by a seeded generator, so that a run can be repeated.

/// Most bytes of an input.
const BYTES_MAX: usize = 4096;

/// Pieces that mean something to one of the readers.
const PIECES: [&[u8]; 16] = [
    b"{",
    b"}",
    b"[",
    b"\"",
    b":",
    b",",
    b"\\u00e9",
    b"null",
    b"1e308",
    b"\"ts\":",
    b"\"params\":{",
    b"\"items\":[",
    &[0xff; 10],
    &[0x80, 0x01],
    &[0; 8],
    &[0x12, 0x02, 0x10, 0x01],
];

/// Makes inputs out of others.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// With a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// One of the inputs, edited once or a few times.
    pub fn next(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = inputs.get(self.below(inputs.len())).cloned().unwrap_or_default();
        for _ in 0..=self.below(4) {
            self.edit(&mut bytes, inputs);
        }
        bytes.truncate(BYTES_MAX);
        bytes
    }

    fn edit(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let at = self.below(bytes.len() + 1);
        let end = (at + 1 + self.below(16)).min(bytes.len());
        match self.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.random() as u8,
            2 => drop(bytes.drain(at.min(end)..end)),
            3 => {
                let piece = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => {
                let piece = PIECES[self.below(PIECES.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            5 => {
                let other = inputs.get(self.below(inputs.len())).map_or(&[][..], Vec::as_slice);
                let from = self.below(other.len() + 1);
                let to = (from + 1 + self.below(64)).min(other.len());
                bytes.splice(at..at, other[from.min(to)..to].iter().copied());
            }
            _ => bytes.truncate(at),
        }
    }

    fn below(&mut self, most: usize) -> usize {
        (self.random() % most.max(1) as u64) as usize
    }

    /// splitmix64
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
