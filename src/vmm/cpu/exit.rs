//! Why a vCPU has left the guest, and what is done about it.
//!
//! KVM describes an exit in the vCPU's run area ([`RunArea`](super::run_area::RunArea)): [`decode`] reads it, [`handle`] acts on it. Both
//! are plain functions over bytes and buses, so they are tested without KVM.

#![forbid(unsafe_code)]

use std::mem::offset_of;

use kvm_bindings::{
    KVM_EXIT_FAIL_ENTRY, KVM_EXIT_HLT, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_INTR, KVM_EXIT_IO, KVM_EXIT_IO_IN,
    KVM_EXIT_IRQ_WINDOW_OPEN, KVM_EXIT_MEMORY_FAULT, KVM_EXIT_MMIO, KVM_EXIT_SHUTDOWN, KVM_INTERNAL_ERROR_EMULATION,
    kvm_run, kvm_run__bindgen_ty_1__bindgen_ty_2 as FailEntry, kvm_run__bindgen_ty_1__bindgen_ty_4 as Io,
    kvm_run__bindgen_ty_1__bindgen_ty_6 as Mmio, kvm_run__bindgen_ty_1__bindgen_ty_13 as Internal,
    kvm_run__bindgen_ty_1__bindgen_ty_27 as MemoryFault,
};

use crate::vmm::bus::Bus;

/// Where the description of the exit begins.
const DETAILS: usize = offset_of!(kvm_run, __bindgen_anon_1);
/// The error's data tell the instruction's bytes (`KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES`).
const INSTRUCTION_BYTES: u64 = 1;
/// The longest instruction of the architecture, in bytes.
pub const MAX_INSTRUCTION: usize = 15;

/// Why a vCPU has left the guest.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit<'a> {
    /// It reads from a port. `data` is for one item of `size` bytes, or for the many of a string instruction.
    PortRead {
        /// The port.
        port: u16,
        /// Bytes of an item: 1, 2 or 4.
        size: usize,
        /// What it will read.
        data: &'a mut [u8],
    },
    /// It writes to a port, one item or many.
    PortWrite {
        /// The port.
        port: u16,
        /// Bytes of an item: 1, 2 or 4.
        size: usize,
        /// What it writes.
        data: &'a [u8],
    },
    /// It reads memory that is not RAM.
    MemoryRead {
        /// The guest physical address.
        address: u64,
        /// What it will read.
        data: &'a mut [u8],
    },
    /// It writes memory that is not RAM.
    MemoryWrite {
        /// The guest physical address.
        address: u64,
        /// What it writes.
        data: &'a [u8],
    },
    /// A triple fault.
    TripleFault,
    /// Nothing to do.
    Nothing,
    /// KVM cannot go on.
    Failed(Failure),
}

/// Why KVM cannot go on with a vCPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// KVM's number for an internal error.
    pub suberror: Option<u32>,
    /// What happened, in a sentence without a full stop.
    pub reason: String,
    /// The bytes of the instruction, when KVM told them.
    pub bytes: Vec<u8>,
}

impl Failure {
    /// A failure without an error number of KVM's own.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { suberror: None, reason: reason.into(), bytes: Vec::new() }
    }
}

/// What comes after an exit.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The guest goes on.
    Enter,
    /// The guest wants to be reset, by a triple fault.
    TripleFault,
    /// The vCPU cannot go on.
    Fail(Failure),
}

/// Reads the exit from a run area, as the last KVM_RUN left it.
pub fn decode(area: &mut [u8]) -> Exit<'_> {
    match u32_at(area, offset_of!(kvm_run, exit_reason)) {
        KVM_EXIT_IO => decode_io(area),
        KVM_EXIT_MMIO => decode_mmio(area),
        KVM_EXIT_INTR | KVM_EXIT_IRQ_WINDOW_OPEN | KVM_EXIT_HLT => Exit::Nothing,
        KVM_EXIT_SHUTDOWN => Exit::TripleFault,
        KVM_EXIT_FAIL_ENTRY => {
            let reason = u64_at(area, DETAILS + offset_of!(FailEntry, hardware_entry_failure_reason));
            Exit::Failed(Failure::new(format!("the host's CPU refused to enter the guest (reason {reason:#x})")))
        }
        KVM_EXIT_MEMORY_FAULT => {
            let address = u64_at(area, DETAILS + offset_of!(MemoryFault, gpa));
            Exit::Failed(Failure::new(format!("the host has no memory for the guest's page at {address:#x}")))
        }
        KVM_EXIT_INTERNAL_ERROR => Exit::Failed(decode_internal_error(area)),
        other => Exit::Failed(Failure::new(format!("KVM left the guest for the unknown reason {other}"))),
    }
}

fn decode_io(area: &mut [u8]) -> Exit<'_> {
    let size = usize::from(u8_at(area, DETAILS + offset_of!(Io, size)));
    let port = u16_at(area, DETAILS + offset_of!(Io, port));
    let count = u32_at(area, DETAILS + offset_of!(Io, count)) as usize;
    let start = u64_at(area, DETAILS + offset_of!(Io, data_offset)) as usize;
    let reads = u32::from(u8_at(area, DETAILS + offset_of!(Io, direction))) == KVM_EXIT_IO_IN;
    let range = count.checked_mul(size).and_then(|len| Some(start..start.checked_add(len)?));
    match range.and_then(|range| area.get_mut(range)).filter(|_| size > 0) {
        Some(data) if reads => Exit::PortRead { port, size, data },
        Some(data) => Exit::PortWrite { port, size, data },
        None => Exit::Failed(Failure::new("KVM described a port access outside of the run area")),
    }
}

fn decode_mmio(area: &mut [u8]) -> Exit<'_> {
    const DATA: usize = DETAILS + offset_of!(Mmio, data);
    let address = u64_at(area, DETAILS + offset_of!(Mmio, phys_addr));
    let len = u32_at(area, DETAILS + offset_of!(Mmio, len)) as usize;
    let writes = u8_at(area, DETAILS + offset_of!(Mmio, is_write)) != 0;
    match area.get_mut(DATA..DATA + len.min(8)) {
        Some(data) if writes => Exit::MemoryWrite { address, data },
        Some(data) => Exit::MemoryRead { address, data },
        None => Exit::Failed(Failure::new("KVM described a memory access outside of the run area")),
    }
}

fn decode_internal_error(area: &[u8]) -> Failure {
    const DATA: usize = DETAILS + offset_of!(Internal, data);
    let suberror = u32_at(area, DETAILS + offset_of!(Internal, suberror));
    if suberror != KVM_INTERNAL_ERROR_EMULATION {
        let reason = format!("KVM met internal error {suberror}");
        return Failure { suberror: Some(suberror), reason, bytes: Vec::new() };
    }
    // Flags, then one byte with the instruction's length, then the instruction.
    let words = u32_at(area, DETAILS + offset_of!(Internal, ndata));
    let told = words >= 4 && u64_at(area, DATA) & INSTRUCTION_BYTES != 0;
    let len = if told { usize::from(u8_at(area, DATA + 8)).min(MAX_INSTRUCTION) } else { 0 };
    let bytes = area.get(DATA + 9..DATA + 9 + len).unwrap_or_default().to_vec();
    Failure { suberror: Some(suberror), reason: "KVM cannot emulate the instruction".to_owned(), bytes }
}

/// Acts on an exit.
pub fn handle(exit: Exit<'_>, ports: &Bus, memory: &Bus) -> Next {
    match exit {
        Exit::PortRead { port, size, data } => {
            ports.read_items(port.into(), size, data);
            Next::Enter
        }
        Exit::PortWrite { port, size, data } => {
            ports.write_items(port.into(), size, data);
            Next::Enter
        }
        Exit::MemoryRead { address, data } => {
            memory.read(address, data);
            Next::Enter
        }
        Exit::MemoryWrite { address, data } => {
            memory.write(address, data);
            Next::Enter
        }
        Exit::Nothing => Next::Enter,
        Exit::TripleFault => Next::TripleFault,
        Exit::Failed(failure) => Next::Fail(failure),
    }
}

/// The bytes at `offset`; zeroes beyond the area.
fn bytes_at<const N: usize>(area: &[u8], offset: usize) -> [u8; N] {
    area.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn u8_at(area: &[u8], offset: usize) -> u8 {
    bytes_at::<1>(area, offset)[0]
}

fn u16_at(area: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(bytes_at(area, offset))
}

fn u32_at(area: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes_at(area, offset))
}

fn u64_at(area: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes_at(area, offset))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use kvm_bindings::KVM_EXIT_IO_OUT;
    use serde_json::Value;

    use super::*;
    use crate::vmm::device::{Device, StateError};

    const PAGE: usize = 4096;

    /// A run area like KVM's: the structure in the first page, port data in the second.
    struct Area(Vec<u8>);

    impl Area {
        fn new(reason: u32) -> Self {
            let mut area = Self(vec![0; 2 * PAGE]);
            area.put(offset_of!(kvm_run, exit_reason), &reason.to_le_bytes());
            area
        }

        fn put(&mut self, offset: usize, bytes: &[u8]) {
            self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        }

        fn port(direction: u32, port: u16, size: u8, items: &[u8]) -> Self {
            let mut area = Self::new(KVM_EXIT_IO);
            area.put(DETAILS + offset_of!(Io, direction), &[direction as u8]);
            area.put(DETAILS + offset_of!(Io, size), &[size]);
            area.put(DETAILS + offset_of!(Io, port), &port.to_le_bytes());
            let count = items.len() as u32 / u32::from(size.max(1));
            area.put(DETAILS + offset_of!(Io, count), &count.to_le_bytes());
            area.put(DETAILS + offset_of!(Io, data_offset), &(PAGE as u64).to_le_bytes());
            area.put(PAGE, items);
            area
        }

        fn memory(address: u64, data: &[u8], writes: bool) -> Self {
            let mut area = Self::new(KVM_EXIT_MMIO);
            area.put(DETAILS + offset_of!(Mmio, phys_addr), &address.to_le_bytes());
            area.put(DETAILS + offset_of!(Mmio, data), data);
            area.put(DETAILS + offset_of!(Mmio, len), &(data.len() as u32).to_le_bytes());
            area.put(DETAILS + offset_of!(Mmio, is_write), &[writes.into()]);
            area
        }

        fn internal_error(suberror: u32, data: &[u64]) -> Self {
            let mut area = Self::new(KVM_EXIT_INTERNAL_ERROR);
            area.put(DETAILS + offset_of!(Internal, suberror), &suberror.to_le_bytes());
            area.put(DETAILS + offset_of!(Internal, ndata), &(data.len() as u32).to_le_bytes());
            for (index, word) in data.iter().enumerate() {
                area.put(DETAILS + offset_of!(Internal, data) + index * 8, &word.to_le_bytes());
            }
            area
        }
    }

    /// Counts up with every read; remembers writes.
    #[derive(Default)]
    struct Probe {
        reads: u8,
        writes: Vec<Vec<u8>>,
    }

    impl Device for Probe {
        fn label(&self) -> &str {
            "probe"
        }
        fn read(&mut self, _region: usize, _offset: u64, data: &mut [u8]) {
            self.reads += 1;
            data.fill(self.reads);
        }
        fn write(&mut self, _region: usize, _offset: u64, data: &[u8]) {
            self.writes.push(data.to_vec());
        }
        fn reset(&mut self) {}
        fn save(&self) -> Result<Value, StateError> {
            Ok(Value::Null)
        }
        fn restore(&mut self, _state: Value) -> Result<(), StateError> {
            Ok(())
        }
    }

    fn run(area: &mut Area) -> (Next, Arc<Mutex<Probe>>) {
        let probe = Arc::new(Mutex::new(Probe::default()));
        let (ports, memory) = (Bus::new("ports"), Bus::new("memory"));
        ports.insert(0x3f8, 8, probe.clone(), 0).unwrap();
        memory.insert(0xa_0000, 0x2_0000, probe.clone(), 0).unwrap();
        (handle(decode(&mut area.0), &ports, &memory), probe)
    }

    #[test]
    fn a_string_write_reaches_the_port_item_by_item() {
        let mut area = Area::port(KVM_EXIT_IO_OUT, 0x3f8, 2, &[1, 2, 3, 4, 5, 6]);

        let (next, probe) = run(&mut area);

        assert_eq!(next, Next::Enter);
        assert_eq!(probe.lock().unwrap().writes, [[1, 2], [3, 4], [5, 6]]);
    }

    #[test]
    fn a_string_read_fills_item_by_item() {
        let mut area = Area::port(KVM_EXIT_IO_IN, 0x3f8, 4, &[0; 12]);

        run(&mut area);

        assert_eq!(area.0[PAGE..PAGE + 12], [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
    }

    #[test]
    fn a_port_access_outside_of_the_run_area_or_of_no_size_fails() {
        let mut beyond = Area::port(KVM_EXIT_IO_IN, 0x3f8, 4, &[]);
        beyond.put(DETAILS + offset_of!(Io, count), &u32::MAX.to_le_bytes());
        let mut sizeless = Area::port(KVM_EXIT_IO_IN, 0x3f8, 0, &[]);

        assert!(matches!(run(&mut beyond).0, Next::Fail(_)));
        assert!(matches!(run(&mut sizeless).0, Next::Fail(_)));
    }

    #[test]
    fn memory_accesses_reach_the_memory_bus() {
        let mut read = Area::memory(0xb_8000, &[0; 2], false);
        let mut write = Area::memory(0xb_8000, &[7, 8, 9, 10], true);

        run(&mut read);
        let (_, probe) = run(&mut write);

        let data = DETAILS + offset_of!(Mmio, data);
        assert_eq!(read.0[data..data + 3], [1, 1, 0]);
        assert_eq!(probe.lock().unwrap().writes, [[7, 8, 9, 10]]);
    }

    #[test]
    fn a_triple_fault_asks_for_a_reset() {
        assert_eq!(run(&mut Area::new(KVM_EXIT_SHUTDOWN)).0, Next::TripleFault);
    }

    #[test]
    fn an_instruction_that_cannot_be_emulated_is_told_with_its_bytes() {
        let mut area = Area::internal_error(1, &[1, 0x0304_0506_00ae_0f03, 0, 0]);

        let (next, _) = run(&mut area);

        let reason = "KVM cannot emulate the instruction".to_owned();
        assert_eq!(next, Next::Fail(Failure { suberror: Some(1), reason, bytes: vec![0x0f, 0xae, 0x00] }));
    }

    #[test]
    fn without_the_flag_or_with_a_silly_length_no_wrong_bytes_are_told() {
        let bytes = |area: &mut Area| match run(area).0 {
            Next::Fail(failure) => failure.bytes.len(),
            other => panic!("{other:?}"),
        };

        assert_eq!(bytes(&mut Area::internal_error(1, &[0, 0x03, 0, 0])), 0);
        assert_eq!(bytes(&mut Area::internal_error(1, &[1])), 0);
        assert_eq!(bytes(&mut Area::internal_error(1, &[1, 0xff, 0, 0])), MAX_INSTRUCTION);
    }

    #[test]
    fn other_failures_say_what_they_are() {
        let reason = |area: &mut Area| match run(area).0 {
            Next::Fail(failure) => failure.reason,
            other => panic!("{other:?}"),
        };

        assert_eq!(reason(&mut Area::internal_error(3, &[])), "KVM met internal error 3");
        assert!(reason(&mut Area::new(KVM_EXIT_FAIL_ENTRY)).contains("refused to enter"));
        assert!(reason(&mut Area::new(999)).contains("999"));
    }
}
