//! Why something could not be done with a network.

use std::{io, path::PathBuf};

use crate::system_error::words;
use ipnet::Ipv4Net;

/// See the module. Every text says what happened and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum VirtualNetworkError {
    /// Only root may do that.
    #[error(
        "only root can change the host's networks. Do it with sudo, or use nat or isolated=NAME, which need no rights"
    )]
    NotRoot,
    /// The name cannot be one.
    #[error("\"{0}\" is no name of a network. Write at most 32 letters, digits, \".\", \"_\" and \"-\"")]
    Name(String),
    /// There is no such network.
    #[error(
        "there is no network \"{0}\". Look at \"lodgectl network list\"; root makes one with \"lodgectl network create {0}\""
    )]
    NotFound(String),
    /// There is one already.
    #[error("there is a network \"{0}\" already. Choose another name, or delete it first")]
    Exists(String),
    /// It is started.
    #[error("the network \"{0}\" is started. Stop it first: \"lodgectl network stop {0}\"")]
    Started(String),
    /// It is not started.
    #[error("the network \"{0}\" is not started. Have root start it: \"lodgectl network start {0}\"")]
    Stopped(String),
    /// Guests are on it.
    #[error("guests are on the network \"{name}\" ({interfaces}). End them, or write --force: they go on without it")]
    InUse {
        /// The network.
        name: String,
        /// Their interfaces.
        interfaces: String,
    },
    /// The subnet cannot be one.
    #[error("{0} cannot be the addresses of guests. Write a private subnet, like 192.168.130.0/24")]
    Subnet(Ipv4Net),
    /// The subnet meets another one.
    #[error("{subnet} meets {other}, which {whose}. Choose another subnet, like 192.168.130.0/24")]
    Overlap {
        /// The subnet.
        subnet: Ipv4Net,
        /// The other one.
        other: Ipv4Net,
        /// Who has it.
        whose: String,
    },
    /// No subnet is free.
    #[error("every subnet from 192.168.122.0/24 to 192.168.254.0/24 is taken. Choose another one with --subnet")]
    NoSubnet,
    /// The bridge cannot be made.
    #[error("{bridge} {reason}. Choose another one with --bridge")]
    Bridge {
        /// Its name.
        bridge: String,
        /// Why not.
        reason: String,
    },
    /// Its file is damaged.
    #[error("{} cannot be used: {reason}. Correct it, or remove it", path.display())]
    Definition {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A program that is needed is missing.
    #[error("{program} is not installed. Install the package \"{package}\"")]
    Missing {
        /// The program.
        program: &'static str,
        /// What it is in.
        package: &'static str,
    },
    /// A program has failed.
    #[error("{what} failed: {said}. Mend that and try again; nothing is left of this attempt")]
    Program {
        /// The command.
        what: String,
        /// What it has said.
        said: String,
    },
    /// A file could not be read or written.
    #[error("{}: {}. Make it readable, and writable for root", path.display(), words(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
