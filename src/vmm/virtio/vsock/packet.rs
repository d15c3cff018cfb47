//! The header of a packet (virtio 1.2, section 5.10.6). The virtio-vsock crate reads it from descriptor chains of its own
//! kind; over our checked chains it is this one structure.

use vm_memory::{ByteValued, Le16, Le32, Le64};

/// The host's address (`VMADDR_CID_HOST`).
pub const HOST_CID: u64 = 2;
/// The only kind of socket that is offered: a stream.
pub const STREAM: u16 = 1;
/// Shutdown flag: the sender will receive no more.
pub const NO_RECEIVE: u32 = 1;
/// Shutdown flag: the sender will send no more.
pub const NO_SEND: u32 = 2;

/// What a packet is for (section 5.10.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Operation {
    /// Asks for a connection.
    Request = 1,
    /// Grants it.
    Response = 2,
    /// Ends a connection at once, or refuses one.
    Reset = 3,
    /// Ends one direction or both.
    Shutdown = 4,
    /// Carries data.
    Data = 5,
    /// Tells how much more may be sent.
    CreditUpdate = 6,
    /// Asks to be told.
    CreditRequest = 7,
}

impl Operation {
    /// The operation with this number.
    pub fn from_number(number: u16) -> Option<Self> {
        use Operation::*;
        [Request, Response, Reset, Shutdown, Data, CreditUpdate, CreditRequest]
            .into_iter()
            .find(|&operation| operation as u16 == number)
    }
}

/// The header: 44 bytes, little-endian.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[repr(C, packed)]
pub struct Header {
    /// Who sends.
    pub source_cid: Le64,
    /// Who is to receive.
    pub destination_cid: Le64,
    /// The sender's port.
    pub source_port: Le32,
    /// The receiver's port.
    pub destination_port: Le32,
    /// Bytes of data behind the header.
    pub length: Le32,
    /// Kind of socket.
    pub kind: Le16,
    /// The [`Operation`].
    pub operation: Le16,
    /// Of a shutdown: which directions.
    pub flags: Le32,
    /// The sender's buffer for this connection, in bytes.
    pub buffer_size: Le32,
    /// How many bytes the sender has taken out of that buffer so far, modulo 2^32.
    pub forwarded: Le32,
}

// SAFETY: the structure is packed and made of little-endian integers only, so any bytes are a value of it.
unsafe impl ByteValued for Header {}

/// Bytes of a [`Header`].
pub const HEADER_SIZE: usize = size_of::<Header>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_has_the_size_and_order_of_the_specification() {
        let header = Header { source_cid: 3.into(), operation: 5.into(), forwarded: 9.into(), ..Default::default() };

        let bytes = header.as_slice();

        assert_eq!(bytes.len(), 44);
        assert_eq!((bytes[0], bytes[30], bytes[40]), (3, 5, 9));
    }

    #[test]
    fn only_the_seven_operations_are_known() {
        let known = (0..20).filter(|&number| Operation::from_number(number).is_some()).count();

        assert_eq!(known, 7);
    }
}
