//! What the integration tests share.

pub mod card;
pub mod code;
pub mod kvm;
pub mod machine;
