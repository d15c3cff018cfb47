//! How devices raise interrupts: lines of the legacy controllers and message-signalled interrupts.
//!
//! Devices know only these traits, so that they can be tested without KVM ([`testing`]).

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use vmm_sys_util::eventfd::EventFd;

/// A wire to the interrupt controllers. Level-triggered devices hold it high until served; edge-triggered ones pulse it.
pub trait InterruptLine: Send + Sync {
    /// Drives the line high (`true`) or low.
    fn set_level(&self, high: bool);

    /// One edge: high, then low.
    fn pulse(&self) {
        self.set_level(true);
        self.set_level(false);
    }
}

/// A shared [`InterruptLine`].
pub type Interrupt = Arc<dyn InterruptLine>;

/// A line that several devices share: it is high while one of them holds it high.
pub struct SharedLine {
    line: Interrupt,
    holders: Mutex<usize>,
}

impl SharedLine {
    /// Shares `line`, which is low.
    pub fn new(line: Interrupt) -> Arc<Self> {
        Arc::new(Self { line, holders: Mutex::default() })
    }

    /// A connection for one more device.
    pub fn connect(self: &Arc<Self>) -> Interrupt {
        Arc::new(Connection { shared: self.clone(), high: AtomicBool::new(false) })
    }
}

struct Connection {
    shared: Arc<SharedLine>,
    high: AtomicBool,
}

impl InterruptLine for Connection {
    fn set_level(&self, high: bool) {
        let mut holders = self.shared.holders.lock().unwrap_or_else(PoisonError::into_inner);
        if self.high.swap(high, Ordering::AcqRel) == high {
            return;
        }
        let before = *holders > 0;
        *holders = if high { *holders + 1 } else { *holders - 1 };
        if before != (*holders > 0) {
            self.shared.line.set_level(high);
        }
    }
}

/// An MSI message: what the device would write where (PCI Local Bus Specification 3.0, section 6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsiMessage {
    /// The message address.
    pub address: u64,
    /// The message data.
    pub data: u32,
}

/// One MSI-X vector with an irqfd of its own.
pub trait MsiVector: Send + Sync {
    /// Routes the vector to `message`, or nowhere (`None`: masked or not yet set up).
    fn route(&self, message: Option<MsiMessage>) -> std::io::Result<()>;

    /// The irqfd: writing 1 to it delivers the message. Safe to use from any thread.
    fn event(&self) -> &EventFd;

    /// Delivers the message.
    fn trigger(&self) {
        // An eventfd's counter cannot overflow here: KVM reads it at once.
        let _ = self.event().write(1);
    }
}

/// Hands out MSI vectors; implemented over KVM's routing table.
pub trait MsiAllocator: Send + Sync {
    /// A new vector, not yet routed.
    fn allocate(&self) -> std::io::Result<Arc<dyn MsiVector>>;
}

/// Connects guest writes to eventfds without a return to the worker (ioeventfd).
pub trait Doorbells: Send + Sync {
    /// A write of any width to guest physical address `address` signals `event`.
    fn register(&self, address: u64, event: &EventFd) -> std::io::Result<()>;

    /// Undoes [`Doorbells::register`].
    fn unregister(&self, address: u64, event: &EventFd) -> std::io::Result<()>;
}

/// Stand-ins for tests without KVM.
pub mod testing {
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// A line that remembers its level and counts its rising edges.
    #[derive(Default)]
    pub struct FakeLine {
        high: AtomicBool,
        edges: AtomicU64,
    }

    impl FakeLine {
        /// Whether the line is high.
        pub fn is_high(&self) -> bool {
            self.high.load(Ordering::SeqCst)
        }

        /// Rising edges so far.
        pub fn edges(&self) -> u64 {
            self.edges.load(Ordering::SeqCst)
        }
    }

    impl InterruptLine for FakeLine {
        fn set_level(&self, high: bool) {
            if !self.high.swap(high, Ordering::SeqCst) && high {
                self.edges.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// A vector that remembers its route; its eventfd's counter counts the triggers.
    pub struct FakeVector {
        event: EventFd,
        /// Where it is routed now.
        pub message: Mutex<Option<MsiMessage>>,
    }

    impl MsiVector for FakeVector {
        fn route(&self, message: Option<MsiMessage>) -> std::io::Result<()> {
            *self.message.lock().unwrap() = message;
            Ok(())
        }

        fn event(&self) -> &EventFd {
            &self.event
        }
    }

    /// Hands out [`FakeVector`]s and accepts every doorbell.
    #[derive(Default)]
    pub struct FakeInterrupts {
        /// The vectors handed out.
        pub vectors: Mutex<Vec<Arc<FakeVector>>>,
        /// The doorbells registered now.
        pub doorbells: Mutex<Vec<u64>>,
    }

    impl MsiAllocator for FakeInterrupts {
        fn allocate(&self) -> std::io::Result<Arc<dyn MsiVector>> {
            let vector = Arc::new(FakeVector { event: EventFd::new(libc::EFD_NONBLOCK)?, message: Mutex::new(None) });
            self.vectors.lock().unwrap().push(vector.clone());
            Ok(vector)
        }
    }

    impl Doorbells for FakeInterrupts {
        fn register(&self, address: u64, _event: &EventFd) -> std::io::Result<()> {
            self.doorbells.lock().unwrap().push(address);
            Ok(())
        }

        fn unregister(&self, address: u64, _event: &EventFd) -> std::io::Result<()> {
            self.doorbells.lock().unwrap().retain(|&registered| registered != address);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::FakeLine, *};

    #[test]
    fn a_shared_line_is_high_while_anyone_holds_it() {
        let line = Arc::new(FakeLine::default());
        let shared = SharedLine::new(line.clone());
        let (one, other) = (shared.connect(), shared.connect());

        one.set_level(true);
        one.set_level(true);
        other.set_level(true);
        one.set_level(false);
        let held = line.is_high();
        other.set_level(false);
        other.set_level(false);

        assert!(held);
        assert!(!line.is_high());
        assert_eq!(line.edges(), 1);
    }
}
