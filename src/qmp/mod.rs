//! QMP, QEMU's JSON control protocol, used by the worker (server) and the manager (client).
//!
//! - [`message`]: what goes over the wire. [`codec`]: messages to and from bytes.
//! - [`command`], [`arguments`]: reading a command, with QEMU's words for what is wrong with it.
//! - [`types`]: what commands answer and events tell.
//!
//! Specification: QEMU Machine Protocol Specification (docs/interop/qmp-spec) and the QEMU QMP Reference Manual.

#![forbid(unsafe_code)]

pub mod arguments;
pub mod codec;
pub mod command;
mod framing;
pub mod message;
pub mod types;
