//! The engine: a PC made of KVM vCPUs, buses and devices. It knows no GTK, no QMP and no names of files; whoever starts it
//! hands it open files.

pub mod block;
pub mod boot;
pub mod bus;
pub mod cpu;
pub mod device;
pub mod devices;
pub mod display;
pub mod hex;
pub mod interrupt;
pub mod kvm;
pub mod limits;
pub mod machine;
pub mod memory;
pub mod net;
pub mod pci;
pub mod snapshot;
pub mod virtio;
