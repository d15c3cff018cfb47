//! What the system says of a failure, in words for people: without the number, and clearer where its own words are not clear.

#![forbid(unsafe_code)]

use std::{io, net::SocketAddr};

/// The words, to be put after what they are about: `/srv/disk.img: No such file or directory`.
pub fn words(error: &io::Error) -> String {
    // What this program says itself has no number, and is clear.
    let Some(number) = error.raw_os_error() else { return error.to_string() };
    let known = match error.kind() {
        io::ErrorKind::AddrInUse => "another program has this address",
        io::ErrorKind::AddrNotAvailable => "this computer does not have this address",
        io::ErrorKind::StorageFull => "its file system is full",
        io::ErrorKind::QuotaExceeded => "there is no more room for you on its file system (quota)",
        io::ErrorKind::ReadOnlyFilesystem => "its file system is read-only",
        _ => {
            let text = error.to_string();
            return text.strip_suffix(&format!(" (os error {number})")).map(str::to_owned).unwrap_or(text);
        }
    };
    known.to_owned()
}

/// Why nobody can be let in at `address`, and how to mend it.
pub fn not_listening(address: SocketAddr, error: &io::Error) -> String {
    let (host, port) = (address.ip(), address.port());
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another guest or program has port {port} of {host}. Choose another port, or 0 for one that is free"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "this computer does not have the address {host}. Choose one that it has, or 0.0.0.0 for all of them"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("only root may have port {port} of {host}. Choose one from 1024 on, or 0 for one that is free")
        }
        _ => format!("{address}: {}. Choose another address or port", words(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn no_number_is_told() {
        for number in 1..134 {
            let words = words(&io::Error::from_raw_os_error(number));
            assert!(!words.contains("os error") && words.len() > 5, "{number}: {words}");
        }
        assert_eq!(words(&io::Error::from_raw_os_error(libc::ENOENT)), "No such file or directory");
        assert_eq!(words(&io::Error::from_raw_os_error(libc::ENOSPC)), "its file system is full");
    }

    #[test]
    fn what_a_program_says_stays_as_it_is() {
        let error = io::Error::new(io::ErrorKind::AddrInUse, "taken (os error 7)");

        assert_eq!(words(&error), "taken (os error 7)");
    }

    #[test]
    fn whoever_cannot_listen_is_told_what_to_choose() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let told = |address: SocketAddr| not_listening(address, &TcpListener::bind(address).unwrap_err());
        let address = taken.local_addr().unwrap();

        let in_use = told(address);

        assert!(in_use.contains(&format!("port {} of 127.0.0.1", address.port())) && in_use.contains("0 for one"));
        // An address for documentation, which no computer has.
        assert!(told("192.0.2.1:5900".parse().unwrap()).contains("does not have the address 192.0.2.1"));
        let refused = not_listening("127.0.0.1:80".parse().unwrap(), &io::ErrorKind::PermissionDenied.into());
        assert!(refused.contains("from 1024 on"), "{refused}");
    }
}
