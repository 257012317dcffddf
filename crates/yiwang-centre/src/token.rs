//! Resume tokens of streams: opaque to clients, signed, and good only for the consumer and view they were made for.
//!
//! A token is (log epoch, seq, digest of consumer, digest of unit and filter) under an HMAC-SHA256. Whoever alters one
//! gets [`Forged`]; whoever borrows one is found out by its [`Audience`]; nobody is given another place unseen.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use yiwang_core::ids::{Hasher, Id};

const VERSION: u8 = 1;
/// First byte of page tokens: the two kinds are never taken for each other.
const PAGE_VERSION: u8 = 2;
const PAGE_BODY: usize = 1 + 8 + 16 + 16;
const BODY: usize = 1 + 4 + 8 + 16 + 16;
const TAG: usize = 16;

/// Makes and reads tokens with one key.
#[derive(Clone)]
pub struct Signer {
    key: [u8; 32],
}

/// For whom and for what a token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audience {
    /// Digest of unit and consumer.
    pub consumer: Id,
    /// Digest of unit and filter.
    pub view: Id,
}

impl Audience {
    /// The audience of one consumer of one unit with one filter (its canonical bytes).
    #[must_use]
    pub fn new(unit: &str, consumer: &str, filter: &[u8]) -> Self {
        Self {
            consumer: Hasher::new().text(unit).text(consumer).finish(),
            view: Hasher::new().text(unit).bytes(filter).finish(),
        }
    }
}

/// A place in the stream of changes: everything up to `seq` was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Epoch of the outbox; another one means that its numbering began anew.
    pub log_epoch: u32,
    /// Last delivered number.
    pub seq: i64,
}

/// A token that is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// For whom it was made.
    pub audience: Audience,
    /// Where it stands.
    pub place: Place,
}

/// A token that was not made by us, or altered; it is not said where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forged;

impl Signer {
    /// A signer over a secret key.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The token of a place.
    #[must_use]
    pub fn sign(&self, audience: Audience, place: Place) -> Vec<u8> {
        let mut token = Vec::with_capacity(BODY + TAG);
        token.push(VERSION);
        token.extend_from_slice(&place.log_epoch.to_be_bytes());
        token.extend_from_slice(&place.seq.to_be_bytes());
        token.extend_from_slice(&audience.consumer.to_bytes());
        token.extend_from_slice(&audience.view.to_bytes());
        let tag = self.mac(&token).finalize().into_bytes();
        token.extend_from_slice(&tag[..TAG]);
        token
    }

    /// What a token says.
    ///
    /// # Errors
    /// [`Forged`], without saying which part was wrong.
    pub fn read(&self, token: &[u8]) -> Result<Opened, Forged> {
        let (body, tag) = token.split_at_checked(BODY).ok_or(Forged)?;
        self.mac(body).verify_truncated_left(tag).map_err(|_| Forged)?;
        if tag.len() != TAG || body[0] != VERSION {
            return Err(Forged);
        }
        let id = |at: usize| {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&body[at..at + 16]);
            Id::from_bytes(bytes)
        };
        let audience = Audience { consumer: id(13), view: id(29) };
        let mut epoch = [0; 4];
        epoch.copy_from_slice(&body[1..5]);
        let mut seq = [0; 8];
        seq.copy_from_slice(&body[5..13]);
        let place = Place { log_epoch: u32::from_be_bytes(epoch), seq: i64::from_be_bytes(seq) };
        Ok(Opened { audience, place })
    }

    /// The token of a page of a list: goes on after a row, for one unit and filter.
    #[must_use]
    pub fn sign_page(&self, view: Id, after: (i64, Id)) -> Vec<u8> {
        let mut token = Vec::with_capacity(PAGE_BODY + TAG);
        token.push(PAGE_VERSION);
        token.extend_from_slice(&after.0.to_be_bytes());
        token.extend_from_slice(&after.1.to_bytes());
        token.extend_from_slice(&view.to_bytes());
        let tag = self.mac(&token).finalize().into_bytes();
        token.extend_from_slice(&tag[..TAG]);
        token
    }

    /// The view and the row of a page token.
    ///
    /// # Errors
    /// [`Forged`], without saying which part was wrong.
    pub fn read_page(&self, token: &[u8]) -> Result<(Id, (i64, Id)), Forged> {
        let (body, tag) = token.split_at_checked(PAGE_BODY).ok_or(Forged)?;
        self.mac(body).verify_truncated_left(tag).map_err(|_| Forged)?;
        if tag.len() != TAG || body[0] != PAGE_VERSION {
            return Err(Forged);
        }
        let id = |at: usize| {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&body[at..at + 16]);
            Id::from_bytes(bytes)
        };
        let mut at = [0; 8];
        at.copy_from_slice(&body[1..9]);
        Ok((id(25), (i64::from_be_bytes(at), id(9))))
    }

    fn mac(&self, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a MAC key has any length");
        mac.update(body);
        mac
    }
}

/// Tokens as text: lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?);
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { log_epoch: 3, seq: 77 };

    #[test]
    fn a_token_is_good_for_its_audience_only() {
        let signer = Signer::new([7; 32]);
        let own = Audience::new("310118001", "screen-1", b"open");
        let token = signer.sign(own, PLACE);
        assert_eq!(signer.read(&token), Ok(Opened { audience: own, place: PLACE }));
        let other = Audience::new("310118002", "screen-1", b"open");
        assert_ne!(other.consumer, own.consumer);
        let filtered = Audience::new("310118001", "screen-1", b"all");
        assert_eq!(filtered.consumer, own.consumer);
        assert_ne!(filtered.view, own.view);
    }

    #[test]
    fn a_page_token_is_no_resume_token() {
        let signer = Signer::new([7; 32]);
        let view = Audience::new("310118001", "", b"open").view;
        let row = (1_795_363_200_000, Id(42));
        let token = signer.sign_page(view, row);
        assert_eq!(signer.read_page(&token), Ok((view, row)));
        assert_eq!(signer.read(&token), Err(Forged));
        let resume = signer.sign(Audience::new("310118001", "", b"open"), PLACE);
        assert_eq!(signer.read_page(&resume), Err(Forged));
        for at in 0..token.len() {
            let mut altered = token.clone();
            altered[at] ^= 1;
            assert_eq!(signer.read_page(&altered), Err(Forged), "byte {at}");
        }
    }

    #[test]
    fn every_altered_or_cut_token_is_forged() {
        let signer = Signer::new([7; 32]);
        let own = Audience::new("310118001", "screen-1", b"");
        let token = signer.sign(own, PLACE);
        for at in 0..token.len() {
            let mut altered = token.clone();
            altered[at] ^= 1;
            assert_eq!(signer.read(&altered), Err(Forged), "byte {at}");
            assert_eq!(signer.read(&token[..at]), Err(Forged), "cut at {at}");
        }
        assert_eq!(Signer::new([8; 32]).read(&token), Err(Forged));
    }
}
