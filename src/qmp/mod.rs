//! QMP, QEMU's JSON control protocol: messages and codec, used by the worker and the manager.
//!
//! Specification: QEMU Machine Protocol Specification (docs/interop/qmp-spec) and the QEMU QMP Reference Manual.

#![forbid(unsafe_code)]

pub mod codec;
mod framing;
pub mod message;
