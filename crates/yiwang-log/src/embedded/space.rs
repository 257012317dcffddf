//! The free disk under a data folder, and how much of it appends leave alone.
//!
//! Records are not the only ones that need the disk: positions, snapshots and the store must still be written when it
//! is nearly full, and at its very end the log halts. So appends wait before: first those that bring something new
//! from outside, and only at half of the reserve those that finish what was acknowledged.

use std::path::Path;

use super::io;
use crate::error::Error;
use crate::topic::TopicSpec;

/// Free disk that appends leave alone: the larger of both; with zeros there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserve {
    /// Share of the file system.
    pub percent: u8,
    /// Bytes at least.
    pub bytes_min: u64,
}

/// What a look at the disk found, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Free for this process.
    pub free: u64,
    /// Below it, what comes from outside waits; below half of it, all streams do.
    pub reserve: u64,
}

/// Of what is free beyond the reserve, the part that one file may be allocated ahead of its bytes: each stream has such a
/// file, and the store needs the disk as well.
const AHEAD_SHARE: u64 = 16;

impl Reserve {
    /// Looks at the file system of a folder.
    pub(super) fn look(self, folder: &Path) -> Result<Space, Error> {
        let found = rustix::io::retry_on_intr(|| rustix::fs::statvfs(folder));
        let found = found.map_err(|error| io("look at the free space of", folder, error.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        let share = bytes(found.f_blocks) / 100 * u64::from(self.percent);
        Ok(Space { free: bytes(found.f_bavail), reserve: share.max(self.bytes_min) })
    }
}

impl Space {
    /// Whether less is free than the reserve.
    #[must_use]
    pub fn is_low(self) -> bool {
        self.free < self.reserve
    }

    /// What must be free before topics that wait go on: those that take what comes from outside, all others.
    #[must_use]
    pub fn enough(self) -> (u64, u64) {
        let enough = |least: u64| least.saturating_add(least / 20);
        (enough(self.reserve), enough(self.reserve / 2))
    }

    /// Whether so many bytes may be allocated before they are needed. Where there is no room for them the attempt alone
    /// takes all that is left, if only for a moment: whoever writes in it finds the disk full.
    pub(super) fn spares(self, bytes: u64) -> bool {
        bytes <= self.free.saturating_sub(self.reserve) / AHEAD_SHARE
    }

    /// Whether appends to a topic wait for the disk. One that `waits` goes on doing so until a little more is free, so
    /// that it does not come and go with every file.
    pub(super) fn holds(self, spec: &TopicSpec, waits: bool) -> bool {
        let (intake, rest) = if waits { self.enough() } else { (self.reserve, self.reserve / 2) };
        self.free < if spec.intake { intake } else { rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intake_waits_first_and_the_rest_at_half() {
        let raw = TopicSpec { intake: true, ..TopicSpec::stream("raw", 1, &[]) };
        let signals = TopicSpec::stream("signals", 1, &[]);
        let held = |free, waits| {
            let space = Space { free, reserve: 1000 };
            (space.holds(&raw, waits), space.holds(&signals, waits))
        };
        assert_eq!(held(1000, false), (false, false));
        assert_eq!(held(999, false), (true, false));
        assert_eq!(held(500, false), (true, false));
        assert_eq!(held(499, false), (true, true));
        assert_eq!(held(524, true), (true, true), "once waiting, a little more must be free");
        assert_eq!(held(525, true), (true, false));
        assert_eq!(held(1050, true), (false, false));
        assert_eq!(Space { free: 0, reserve: 1000 }.enough(), (1050, 525));
    }

    #[test]
    fn nothing_is_allocated_ahead_where_it_would_be_missed() {
        let spares = |free, reserve| Space { free, reserve }.spares(10);
        assert!(spares(160, 0) && spares(260, 100));
        assert!(
            !spares(159, 0) && !spares(259, 100) && !spares(99, 100),
            "what is reserved is no room"
        );
    }

    #[test]
    fn the_larger_of_both_is_reserved() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let look = |percent, bytes_min| Reserve { percent, bytes_min }.look(folder.path());
        let all = look(100, 0).expect("a file system").reserve;
        assert!(all > 0 && look(100, 0).expect("one").is_low(), "a disk is never wholly free");
        assert_eq!(look(0, 7).expect("one").reserve, 7);
        assert_eq!(look(50, all).expect("one").reserve, all);
        assert!(!look(0, 0).expect("one").is_low());
        assert!(Reserve::default().look(&folder.path().join("none")).is_err());
    }
}
