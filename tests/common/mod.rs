//! What the integration tests share.

pub mod card;
pub mod code;
pub mod grub;
pub mod guest;
pub mod home;
pub mod kernel_log;
pub mod kvm;
pub mod linux;
pub mod machine;
pub mod namespace;
pub mod picture;
pub mod protected_mode;
pub mod qemu;
pub mod rights;
pub mod shell;
pub mod stock;
pub mod venv;
pub mod wire;
