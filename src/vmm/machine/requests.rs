//! What the guest wants from the driver: noted once, told once, and the vCPUs stop until the driver has decided.

#![forbid(unsafe_code)]

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{EventSink, MachineEvent, ResetCause, ShutdownCause};
use crate::vmm::{
    cpu::{Governor, InternalErrorReport},
    devices::{ResetLine, power_management::PowerLine},
};

/// The latch between the guest and the driver.
pub struct Requests {
    events: EventSink,
    /// The guest has asked for something; the vCPUs stay out of it.
    pending: AtomicBool,
    /// A vCPU cannot go on.
    failed: AtomicBool,
}

impl Requests {
    /// Nothing wanted yet; `events` will be told.
    pub fn new(events: EventSink) -> Arc<Self> {
        Arc::new(Self { events, pending: AtomicBool::new(false), failed: AtomicBool::new(false) })
    }

    /// The guest wants `event`. Only the first wish counts.
    pub fn raise(&self, event: MachineEvent) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            (self.events)(event);
        }
    }

    /// Tells of something that is not the guest's wish.
    pub fn tell(&self, event: MachineEvent) {
        (self.events)(event);
    }

    /// A line by which a device asks for a reset.
    pub fn reset_line(self: &Arc<Self>, cause: ResetCause) -> ResetLine {
        let requests = self.clone();
        Arc::new(move || requests.raise(MachineEvent::Reset { cause }))
    }

    /// The line by which the guest switches itself off.
    pub fn power_line(self: &Arc<Self>, cause: ShutdownCause) -> PowerLine {
        let requests = self.clone();
        Arc::new(move || requests.raise(MachineEvent::Shutdown { cause }))
    }

    /// Whether the guest has asked for something on which the driver has to decide.
    pub fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Whether a vCPU cannot go on.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Forgets everything, for a machine after a reset.
    pub fn clear(&self) {
        self.pending.store(false, Ordering::Release);
        self.failed.store(false, Ordering::Release);
    }
}

impl Governor for Requests {
    fn must_stop(&self) -> bool {
        self.is_pending()
    }

    fn triple_fault(&self) {
        self.raise(MachineEvent::Reset { cause: ResetCause::TripleFault });
    }

    fn failed(&self, report: InternalErrorReport) {
        self.failed.store(true, Ordering::Release);
        (self.events)(MachineEvent::InternalError(Box::new(report)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn requests() -> (Arc<Requests>, Arc<Mutex<Vec<MachineEvent>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = told.clone();
        (Requests::new(Arc::new(move |event| sink.lock().unwrap().push(event))), told)
    }

    #[test]
    fn the_first_wish_is_told_and_stops_the_vcpus_until_a_reset() {
        let (requests, told) = requests();
        let before = requests.must_stop();

        requests.reset_line(ResetCause::ResetControl)();
        requests.triple_fault();
        requests.power_line(ShutdownCause::Acpi)();
        let after = requests.must_stop();
        requests.clear();

        assert_eq!((before, after, requests.must_stop()), (false, true, false));
        assert!(matches!(told.lock().unwrap()[..], [MachineEvent::Reset { cause: ResetCause::ResetControl }]));
    }

    #[test]
    fn a_failure_is_always_told() {
        let (requests, told) = requests();
        let report = InternalErrorReport {
            vcpu: 1,
            suberror: None,
            reason: "it broke".to_owned(),
            rip: 0x7c00,
            bytes: vec![0xcc],
            registers: None,
        };
        requests.triple_fault();

        Governor::failed(&*requests, report);

        assert!(requests.failed());
        assert!(matches!(&told.lock().unwrap()[..], [_, MachineEvent::InternalError(report)] if report.vcpu == 1));
    }
}
