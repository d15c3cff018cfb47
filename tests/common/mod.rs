//! What the integration tests share.

pub mod kvm;
pub mod machine;
