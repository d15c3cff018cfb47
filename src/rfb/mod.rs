//! The screen protocol: RFB, which VNC viewers speak. A [`server`] shows a [`Screen`](crate::screen::Screen) and takes
//! input for an [`InputSink`](crate::input::InputSink); it knows no engine, so any screen can be served. A [`client`] keeps
//! a copy of a server's screen for whoever paints it. A [`gate`] stands before a screen that is shown on a network.
//!
//! - RFC 6143: <https://www.rfc-editor.org/rfc/rfc6143>
//! - The community's specification with the extensions since: <https://github.com/rfbproto/rfbproto/blob/master/rfbproto.rst>

#![forbid(unsafe_code)]

pub mod client;
pub mod clipboard;
pub mod encoding;
pub mod fence;
pub mod gate;
mod memory;
pub mod pixel_format;
pub mod protocol;
pub mod server;
