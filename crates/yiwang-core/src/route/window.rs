//! Duplicate detection at the door: the newest message ids of one device.
//!
//! At most 256 ids and at most ten minutes of partition clock. Only an id found here is a duplicate; one below the
//! window is late data and goes on, and the unique keys of the stores decide. An optimisation, not the truth.

use std::collections::VecDeque;

use super::bytes::{Damaged, Reader, Writer};
use crate::ids::Id;
use crate::record::Millis;

/// Most ids that are remembered of a device.
pub const IDS_MAX: usize = 256;
/// Ids are remembered for between half of this and all of it.
pub const AGE_MS_MAX: Millis = 600_000;
/// How many newest messages keep a digest of their content, to see that a duplicate differs.
const DIGESTS: usize = 8;

/// What the window says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Not in the window: it goes on.
    New,
    /// In the window.
    Duplicate {
        /// The content is another one than the first time, as far as that is still known.
        differs: bool,
    },
    /// The restart counter went back without `backfill`.
    Replay,
}

/// The newest message ids of one device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    sequence: Option<Box<Sequence>>,
    /// Of the few devices whose messages have names instead of numbers.
    #[expect(
        clippy::box_collection,
        reason = "a queue is three words, and most devices have none"
    )]
    texts: Option<Box<VecDeque<Text>>>,
}

/// (boot, seq) as two bit maps below the highest `seq`: the current and the previous half of the time.
#[derive(Clone, Debug, PartialEq)]
struct Sequence {
    boot: u64,
    top: u64,
    /// Which half of the time `current` covers: partition clock by five minutes.
    half: i64,
    current: [u64; 4],
    previous: [u64; 4],
    /// Of the newest messages; 0 is an empty place.
    digests: [u32; DIGESTS],
    /// Their `seq`, of which the lowest byte is enough: all lie in the window.
    digested: [u8; DIGESTS],
    next_digest: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Text {
    id: Id,
    digest: u32,
    clock: Millis,
}

impl Window {
    /// Judges (boot, seq) and remembers it.
    pub fn sequence(
        &mut self,
        (boot, seq): (u64, u64),
        backfill: bool,
        digest: u32,
        clock: Millis,
    ) -> Seen {
        let known = self.sequence.get_or_insert_with(|| Box::new(Sequence::new(boot, seq, clock)));
        if boot < known.boot {
            return if backfill { Seen::New } else { Seen::Replay };
        }
        if boot > known.boot {
            **known = Sequence::new(boot, seq, clock);
        }
        known.judge(seq, digest, clock)
    }

    /// Judges an id that is no counter and remembers it.
    pub fn id(&mut self, id: Id, digest: u32, clock: Millis) -> Seen {
        let texts = self.texts.get_or_insert_default();
        while texts.front().is_some_and(|first| first.clock <= clock.saturating_sub(AGE_MS_MAX)) {
            texts.pop_front();
        }
        if let Some(known) = texts.iter().rev().find(|known| known.id == id) {
            return Seen::Duplicate { differs: known.digest != digest };
        }
        if texts.len() == IDS_MAX {
            texts.pop_front();
        }
        texts.push_back(Text { id, digest, clock });
        Seen::New
    }

    /// Writes it.
    pub fn encode(&self, to: &mut Writer) {
        to.bool(self.sequence.is_some());
        if let Some(sequence) = &self.sequence {
            sequence.encode(to);
        }
        let texts = self.texts.as_deref();
        to.count(texts.map_or(0, VecDeque::len));
        for text in texts.into_iter().flatten() {
            to.id(text.id);
            to.uint(u64::from(text.digest));
            to.int(text.clock);
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// Damaged bytes.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let sequence = if from.bool()? { Some(Box::new(Sequence::decode(from)?)) } else { None };
        let text =
            |r: &mut Reader<'_>| Ok(Text { id: r.id()?, digest: r.small()?, clock: r.int()? });
        let texts = from.list(text)?;
        let texts = (!texts.is_empty()).then(|| Box::new(texts.into()));
        Ok(Self { sequence, texts })
    }
}

impl Sequence {
    fn new(boot: u64, seq: u64, clock: Millis) -> Self {
        Self {
            boot,
            top: seq,
            half: clock.div_euclid(AGE_MS_MAX / 2),
            current: [0; 4],
            previous: [0; 4],
            digests: [0; DIGESTS],
            digested: [0; DIGESTS],
            next_digest: 0,
        }
    }

    fn judge(&mut self, seq: u64, digest: u32, clock: Millis) -> Seen {
        self.age(clock);
        if seq > self.top {
            let by = seq - self.top;
            self.forget_digests(by);
            self.current = shifted(self.current, by);
            self.previous = shifted(self.previous, by);
            self.top = seq;
        }
        let below = self.top - seq;
        let Some((word, bit)) = place(below) else { return Seen::New };
        if (self.current[word] | self.previous[word]) & bit != 0 {
            let mut known = self.digests.iter().zip(self.digested).filter(|(d, _)| **d != 0);
            let known = known.find(|(_, low)| *low == seq as u8);
            return Seen::Duplicate { differs: known.is_some_and(|(d, _)| *d != digest | 1) };
        }
        self.current[word] |= bit;
        let at = usize::from(self.next_digest);
        // Never zero: zero is an empty place.
        (self.digests[at], self.digested[at]) = (digest | 1, seq as u8);
        self.next_digest = (self.next_digest + 1) % DIGESTS as u8;
        Seen::New
    }

    /// Forgets those of messages that fall out of the window when the highest id rises by `by`.
    fn forget_digests(&mut self, by: u64) {
        for (digest, low) in self.digests.iter_mut().zip(&mut self.digested) {
            if below_top(self.top, *low).saturating_add(by) >= IDS_MAX as u64 {
                (*digest, *low) = (0, 0);
            }
        }
    }

    /// Forgets what is older than one whole half of the time.
    fn age(&mut self, clock: Millis) {
        let half = clock.div_euclid(AGE_MS_MAX / 2);
        if half <= self.half {
            return;
        }
        let older = std::mem::take(&mut self.current);
        self.previous = if half == self.half + 1 { older } else { [0; 4] };
        self.half = half;
    }

    fn encode(&self, to: &mut Writer) {
        to.uint(self.boot);
        to.uint(self.top);
        to.int(self.half);
        for word in self.current.iter().chain(&self.previous) {
            to.uint(*word);
        }
        for (digest, low) in self.digests.iter().zip(self.digested) {
            let seq = self.top.wrapping_sub(below_top(self.top, low));
            to.uint(if *digest == 0 { 0 } else { seq });
            to.uint(u64::from(*digest));
        }
        to.byte(self.next_digest);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let mut read = Self::new(from.uint()?, from.uint()?, 0);
        read.half = from.int()?;
        for word in read.current.iter_mut().chain(&mut read.previous) {
            *word = from.uint()?;
        }
        for (digest, low) in read.digests.iter_mut().zip(&mut read.digested) {
            let seq = from.uint()?;
            *digest = from.small()?;
            let known = place(read.top.wrapping_sub(seq)).is_some();
            (*digest, *low) = if known { (*digest, seq as u8) } else { (0, 0) };
        }
        read.next_digest = from.byte()? % DIGESTS as u8;
        Ok(read)
    }
}

/// How far an id in the window is below the highest, by its lowest byte.
fn below_top(top: u64, low: u8) -> u64 {
    u64::from((top as u8).wrapping_sub(low))
}

/// The bit of an id so far below the highest.
fn place(below: u64) -> Option<(usize, u64)> {
    (below < IDS_MAX as u64).then(|| ((below / 64) as usize, 1 << (below % 64)))
}

/// The map after the highest id rose by `by`.
fn shifted(map: [u64; 4], by: u64) -> [u64; 4] {
    let mut out = [0; 4];
    if by >= IDS_MAX as u64 {
        return out;
    }
    let (words, bits) = ((by / 64) as usize, by % 64);
    for index in words..4 {
        let low = map[index - words] << bits;
        let carried =
            if bits > 0 && index > words { map[index - words - 1] >> (64 - bits) } else { 0 };
        out[index] = low | carried;
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sequences_equal_a_plain_model(
            steps in prop::collection::vec((0..3_u64, 0..700_u64, 0..4_u32, 0..90_000_i64), 1..300),
        ) {
            let mut window = Window::default();
            let mut clock = 1_795_399_200_000;
            let (mut boot_now, mut top) = (0, 0);
            // Per boot: when each seq was first taken.
            let mut taken: HashMap<u64, Millis> = HashMap::new();
            // What the newest that were taken said; never two of one kind that differ in the lowest bit alone.
            let mut said: VecDeque<(u64, u32)> = VecDeque::new();
            for (boot, seq, digest, later) in steps {
                clock += later;
                let seen = window.sequence((boot, seq), false, 2 * digest, clock);
                if boot < boot_now {
                    prop_assert_eq!(seen, Seen::Replay);
                    continue;
                }
                if boot > boot_now {
                    (boot_now, top) = (boot, 0);
                    taken.clear();
                    said.clear();
                }
                top = top.max(seq);
                let age = taken.get(&seq).map(|first| clock - first);
                match seen {
                    Seen::Duplicate { differs } => {
                        let known = said.iter().rev().find(|(known, _)| *known == seq);
                        prop_assert_eq!(differs, known.is_some_and(|(_, known)| *known != digest));
                        prop_assert!(age.is_some_and(|age| age < AGE_MS_MAX), "{:?}", age);
                        prop_assert!(top - seq < IDS_MAX as u64);
                    }
                    Seen::New => {
                        let known = top - seq < IDS_MAX as u64
                            && age.is_some_and(|age| age < AGE_MS_MAX / 2);
                        prop_assert!(!known, "{} {} {:?}", top, seq, age);
                        taken.insert(seq, clock);
                        if top - seq < IDS_MAX as u64 {
                            said.push_back((seq, digest));
                            if said.len() > DIGESTS {
                                said.pop_front();
                            }
                        }
                    }
                    Seen::Replay => prop_assert!(false),
                }
                let mut bytes = Writer::default();
                window.encode(&mut bytes);
                let again = Window::decode(&mut Reader::new(&bytes.bytes)).unwrap();
                prop_assert_eq!(&again, &window);
            }
        }
    }

    #[test]
    fn differing_content_and_old_boots() {
        let mut window = Window::default();
        assert_eq!(window.sequence((3, 9), false, 2, 0), Seen::New);
        assert_eq!(window.sequence((3, 9), false, 2, 1), Seen::Duplicate { differs: false });
        assert_eq!(window.sequence((3, 9), false, 8, 1), Seen::Duplicate { differs: true });
        assert_eq!(window.sequence((2, 10), false, 0, 1), Seen::Replay);
        assert_eq!(window.sequence((2, 10), true, 0, 1), Seen::New);
        assert_eq!(window.id(Id(5), 1, 1), Seen::New);
        assert_eq!(window.id(Id(5), 2, 2), Seen::Duplicate { differs: true });
        assert_eq!(window.id(Id(5), 2, 600_001), Seen::New);
        for id in 10..10 + IDS_MAX as u128 {
            assert_eq!(window.id(Id(id), 1, 600_002), Seen::New);
        }
        assert_eq!(window.id(Id(5), 2, 600_003), Seen::New, "pushed out by 256 newer ones");
    }
}
