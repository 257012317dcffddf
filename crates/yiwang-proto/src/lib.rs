//! The wire: protobuf messages and gRPC services as generated from `proto/`, and hand-written readers and writers of
//! the hot records.
//!
//! The generated code is checked in and compared by a test, so no build needs `protoc`. This crate refuses to decide
//! anything: it turns bytes into the core's types and back.

mod convert;
pub mod json;
mod lifecycle;
pub mod readings;
pub mod status;
pub mod view;
pub mod wire;
mod words;

pub use convert::{
    Malformed, QuarantineNote, change_to_bytes, command_from_bytes, command_to_bytes,
    quarantine_to_bytes, signal_from_bytes, signal_to_bytes,
};
pub use lifecycle::{Lifecycle, absence_to_bytes, lifecycle_from_bytes, time_to_bytes};

/// Everything the services and messages are made of, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptors.bin");

/// `yiwang.record.v1`: what lies on the log.
pub mod record {
    /// Version 1.
    #[expect(missing_docs, reason = "generated; the comments stand in proto/")]
    pub mod v1 {
        include!("gen/yiwang.record.v1.rs");
    }
}

/// `yiwang.incident.v1`: the event centre.
pub mod incident {
    /// Version 1.
    #[expect(
        missing_docs,
        clippy::too_many_lines,
        clippy::large_enum_variant,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated; the comments stand in proto/"
    )]
    pub mod v1 {
        include!("gen/yiwang.incident.v1.rs");
    }
}

/// `yiwang.admin.v1`: for the engineers who run the hub.
pub mod admin {
    /// Version 1.
    #[expect(
        missing_docs,
        clippy::too_many_lines,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated; the comments stand in proto/"
    )]
    pub mod v1 {
        include!("gen/yiwang.admin.v1.rs");
    }
}
