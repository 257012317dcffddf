//! Native MQTT topics `iot/v1/{pk}/{dn}/…`: reading them, and who may publish and subscribe what.
//!
//! Invariant: the identity in a topic equals the session's byte for byte, and no filter that is accepted can match a
//! topic outside the subscriber's own `down/`, or outside what its Sparkplug edge node is told. This module refuses
//! whatever it does not know; it maps no dialects.

use std::fmt;

use crate::codec::sparkplug;
use crate::record::BodyKind;

/// What every native topic begins with.
pub const ROOT: &str = "iot/v1/";
/// Most levels of a topic or filter.
pub const LEVELS_MAX: usize = 8;
/// Most bytes of a topic or filter.
pub const BYTES_MAX: usize = 256;
/// Most bytes of a product key.
pub const PRODUCT_KEY_BYTES_MAX: usize = 32;
/// Most bytes of a device name.
pub const DEVICE_NAME_BYTES_MAX: usize = 64;

/// Why a topic, filter or name is refused; the words are labels of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Not under `iot/v1/`, or its shape is not that of a native topic.
    NotNative,
    /// Too many levels or bytes.
    TooLong,
    /// A wildcard, NUL or `$` where a name is expected, or an empty level.
    BadCharacter,
    /// Native, but another device's.
    ForeignIdentity,
    /// The device's own, but not one that it may use this way.
    NotAllowed,
}

impl Refusal {
    /// The stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotNative => "not_native",
            Self::TooLong => "too_long",
            Self::BadCharacter => "bad_character",
            Self::ForeignIdentity => "foreign_identity",
            Self::NotAllowed => "not_allowed",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotNative => "topic is not of the form iot/v1/{pk}/{dn}/up/…",
            Self::TooLong => "topic has more than 8 levels or 256 bytes",
            Self::BadCharacter => "topic holds a wildcard, NUL, `$` or an empty level",
            Self::ForeignIdentity => "topic names another device than the session",
            Self::NotAllowed => "topic is not one that a device may use",
        })
    }
}

impl std::error::Error for Refusal {}

/// A topic under a device's `up/`, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Up<'a> {
    /// What the body is.
    pub kind: BodyKind,
    /// The part after `up/`: `property`, `event/tamper`, ….
    pub path: &'a str,
}

/// A native upward topic whose sender is known only from the topic itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Native<'a> {
    /// Product key.
    pub product: &'a str,
    /// Device name.
    pub name: &'a str,
    /// Device key `pk/dn`, as it stands in the topic.
    pub device: &'a str,
    /// What comes after.
    pub up: Up<'a>,
}

/// A device's session identity, with what it may publish and subscribe laid out for comparison by bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `iot/v1/{pk}/{dn}/up/`; the device key is a piece of it.
    up: String,
    product_bytes: usize,
    name_bytes: usize,
    /// `{group}.{edge}` of a device that may speak Sparkplug.
    node: Option<Box<str>>,
}

impl Identity {
    /// The identity of a product key and a device name; both are checked.
    pub fn new(product: &str, name: &str) -> Result<Self, Refusal> {
        if !is_product_key(product) || !is_device_name(name) {
            return Err(Refusal::BadCharacter);
        }
        let up = format!("{ROOT}{product}/{name}/up/");
        Ok(Self { up, product_bytes: product.len(), name_bytes: name.len(), node: None })
    }

    /// The same device as the Sparkplug edge node of this name, `{group}.{edge}`; of no node if the name is no part of a
    /// topic, so that it can be no wildcard.
    #[must_use]
    pub fn as_node(self, name: &str) -> Self {
        let plain = !name.contains(['+', '#', '/', '\0']);
        Self { node: plain.then(|| name.into()), ..self }
    }

    /// Reads an MQTT client id `{pk}.{dn}`, split at the first dot.
    pub fn from_client_id(client_id: &str) -> Result<Self, Refusal> {
        let (product, name) = client_id.split_once('.').ok_or(Refusal::NotNative)?;
        Self::new(product, name)
    }

    /// Device key `pk/dn`.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.up[ROOT.len()..ROOT.len() + self.product_bytes + 1 + self.name_bytes]
    }

    /// Product key.
    #[must_use]
    pub fn product(&self) -> &str {
        &self.up[ROOT.len()..ROOT.len() + self.product_bytes]
    }

    /// What the device may publish to: its own `up/` and a path that we know, and what its edge node tells.
    pub fn publish<'t>(&self, topic: &'t str) -> Result<Up<'t>, Refusal> {
        match topic.strip_prefix(self.up.as_str()) {
            Some(path) if topic.len() <= BYTES_MAX => up_path(path),
            Some(_) => Err(Refusal::TooLong),
            None => match &self.node {
                Some(node) if topic.starts_with(sparkplug::ROOT) => node_up(node, topic),
                _ => Err(foreign(topic)),
            },
        }
    }

    /// Whether the device may subscribe to a filter: any valid one inside its own `down/`, and what its edge node is told.
    pub fn subscribe(&self, filter: &str) -> Result<(), Refusal> {
        check_size(filter)?;
        if let Some(node) = &self.node
            && let Some(below) = filter.strip_prefix(sparkplug::ROOT)
        {
            return if is_filter(filter) {
                node_down(node, below)
            } else {
                Err(Refusal::BadCharacter)
            };
        }
        let own = self.up.strip_suffix("up/").expect("an identity ends with up/");
        let Some(below) = filter.strip_prefix(own) else {
            return Err(match filter.strip_prefix(ROOT) {
                _ if !is_filter(filter) => Refusal::BadCharacter,
                Some(_) => Refusal::ForeignIdentity,
                None => Refusal::NotNative,
            });
        };
        match below.strip_prefix("down/") {
            Some("") | None => Err(Refusal::NotAllowed),
            Some(rest) if is_filter(rest) => Ok(()),
            Some(_) => Err(Refusal::BadCharacter),
        }
    }
}

/// Reads a native upward topic where the topic is the identity (an outside broker's ACL vouches for it).
pub fn parse_up(topic: &str) -> Result<Native<'_>, Refusal> {
    check_size(topic)?;
    let rest = topic.strip_prefix(ROOT).ok_or(Refusal::NotNative)?;
    let (product, after) = rest.split_once('/').ok_or(Refusal::NotNative)?;
    let (name, below) = after.split_once('/').ok_or(Refusal::NotNative)?;
    let path = below.strip_prefix("up/").ok_or(Refusal::NotAllowed)?;
    if !is_product_key(product) || !is_device_name(name) {
        return Err(Refusal::BadCharacter);
    }
    let device = &rest[..product.len() + 1 + name.len()];
    Ok(Native { product, name, device, up: up_path(path)? })
}

/// Splits a device key `pk/dn` (the key of a Kafka intake record) and checks both names.
pub fn parse_device_key(key: &str) -> Result<(&str, &str), Refusal> {
    let (product, name) = key.split_once('/').ok_or(Refusal::NotNative)?;
    let valid = is_product_key(product) && is_device_name(name);
    valid.then_some((product, name)).ok_or(Refusal::BadCharacter)
}

/// Whether this is a product key: `[A-Za-z0-9_-]{1,32}`.
#[must_use]
pub fn is_product_key(text: &str) -> bool {
    (1..=PRODUCT_KEY_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

/// Whether this is a device name: `[A-Za-z0-9_.:@-]{1,64}`, never `provision`.
#[must_use]
pub fn is_device_name(text: &str) -> bool {
    (1..=DEVICE_NAME_BYTES_MAX).contains(&text.len())
        && text != "provision"
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:@-".contains(&b))
}

/// Whether an MQTT filter is well formed: `+` and `#` fill a level, `#` is the last one.
#[must_use]
pub fn is_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        let wild = level == "+" || (level == "#" && last);
        if !wild && level.bytes().any(|b| matches!(b, b'+' | b'#' | 0)) {
            return false;
        }
    }
    !filter.is_empty()
}

/// Whether a well-formed MQTT filter matches a topic; a leading wildcard never matches a `$` topic.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && !filter.starts_with('$') {
        return false;
    }
    let mut levels = topic.split('/');
    let mut wanted = filter.split('/');
    loop {
        match (wanted.next(), levels.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(want), Some(level)) if want == level => {}
            _ => return false,
        }
    }
}

/// Understands the part of a topic after `up/`.
pub(crate) fn up_path(path: &str) -> Result<Up<'_>, Refusal> {
    let kind = match path {
        "property" => BodyKind::Property,
        "raw" => BodyKind::Raw,
        "status" | "topo" | "pack" | "get" | "reply" => BodyKind::Other,
        _ => match path.strip_prefix("event/") {
            Some("") => return Err(Refusal::BadCharacter),
            Some(event) if event.contains('/') => return Err(Refusal::NotAllowed),
            Some(event) if event.bytes().any(|b| matches!(b, b'+' | b'#' | b'$' | 0)) => {
                return Err(Refusal::BadCharacter);
            }
            Some(_) => BodyKind::Event,
            None => return Err(Refusal::NotAllowed),
        },
    };
    Ok(Up { kind, path })
}

/// Understands what an edge node publishes: births, data and deaths of itself and of its devices.
fn node_up<'t>(node: &str, topic: &'t str) -> Result<Up<'t>, Refusal> {
    check_size(topic)?;
    match sparkplug::Topic::parse(topic) {
        Some(told) if !told.is_node(node) => Err(Refusal::ForeignIdentity),
        Some(told) if !told.kind.is_command() => Ok(Up { kind: BodyKind::Raw, path: topic }),
        // Commands and STATE are for hosts to send.
        _ => Err(Refusal::NotAllowed),
    }
}

/// Whether an edge node is told what this filter matches: commands to itself and its devices, and hosts' STATE.
fn node_down(node: &str, below: &str) -> Result<(), Refusal> {
    let mut levels = below.split('/');
    let [group, kind, edge, device, beyond] = [(); 5].map(|()| levels.next());
    let own = || {
        let rest = node.strip_prefix(group?)?.strip_prefix('.')?;
        Some(Some(rest) == edge)
    };
    match (group, kind, device, beyond) {
        (Some("STATE"), Some(_), None, None) if edge.is_none() => Ok(()),
        (_, Some("NCMD"), None | Some("#"), None) | (_, Some("DCMD"), Some(_), None) => {
            if own() == Some(true) { Ok(()) } else { Err(Refusal::ForeignIdentity) }
        }
        _ => Err(Refusal::NotAllowed),
    }
}

/// Why a topic or filter that does not begin with the own prefix is refused; for counters and audit only.
#[cold]
fn foreign(topic: &str) -> Refusal {
    if let Err(refusal) = check_size(topic) {
        return refusal;
    }
    match topic.strip_prefix(ROOT) {
        None => Refusal::NotNative,
        Some(rest) if rest.bytes().any(|b| matches!(b, b'+' | b'#' | b'$' | 0)) => {
            Refusal::BadCharacter
        }
        Some(rest) if rest.split('/').count() < 3 => Refusal::NotNative,
        Some(_) => Refusal::ForeignIdentity,
    }
}

fn check_size(topic: &str) -> Result<(), Refusal> {
    let levels = topic.bytes().filter(|b| *b == b'/').count() + 1;
    let fits = topic.len() <= BYTES_MAX && levels <= LEVELS_MAX;
    fits.then_some(()).ok_or(Refusal::TooLong)
}

#[cfg(test)]
#[path = "topic_tests.rs"]
mod tests;
