//! A vCPU's registers for people to look at: in reports, logs and QMP.

#![forbid(unsafe_code)]

use std::fmt;

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use serde::{Deserialize, Serialize};

/// A segment register with what the CPU holds behind it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The selector.
    pub selector: u16,
    /// The base address.
    pub base: u64,
    /// The limit in bytes.
    pub limit: u32,
}

impl From<&kvm_segment> for Segment {
    fn from(segment: &kvm_segment) -> Self {
        Self { selector: segment.selector, base: segment.base, limit: segment.limit }
    }
}

/// The registers that tell where a vCPU is and in which mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: the order of their numbers.
    pub general: [u64; 16],
    /// The instruction pointer, an offset in the code segment.
    pub rip: u64,
    /// The flags.
    pub rflags: u64,
    /// The code segment.
    pub cs: Segment,
    /// The stack segment.
    pub ss: Segment,
    /// The data segments DS, ES, FS, GS.
    pub data: [Segment; 4],
    /// CR0, CR2, CR3, CR4.
    pub control: [u64; 4],
    /// The extended feature enable register.
    pub efer: u64,
}

impl Registers {
    /// Gathers them from KVM's two structures.
    pub fn new(regs: &kvm_regs, sregs: &kvm_sregs) -> Self {
        Self {
            general: [
                regs.rax, regs.rcx, regs.rdx, regs.rbx, regs.rsp, regs.rbp, regs.rsi, regs.rdi, regs.r8, regs.r9,
                regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
            ],
            rip: regs.rip,
            rflags: regs.rflags,
            cs: (&sregs.cs).into(),
            ss: (&sregs.ss).into(),
            data: [&sregs.ds, &sregs.es, &sregs.fs, &sregs.gs].map(Segment::from),
            control: [sregs.cr0, sregs.cr2, sregs.cr3, sregs.cr4],
            efer: sregs.efer,
        }
    }

    /// The linear address of the next instruction.
    pub fn instruction_address(&self) -> u64 {
        self.cs.base.wrapping_add(self.rip)
    }
}

impl fmt::Display for Registers {
    /// Several lines, in the manner of a kernel's oops.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GENERAL: [&str; 16] = [
            "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14",
            "R15",
        ];
        writeln!(f, "RIP {:016x} RFLAGS {:016x} EFER {:016x}", self.rip, self.rflags, self.efer)?;
        for (names, values) in GENERAL.chunks(4).zip(self.general.chunks(4)) {
            let row: Vec<_> = names.iter().zip(values).map(|(name, value)| format!("{name} {value:016x}")).collect();
            writeln!(f, "{}", row.join(" "))?;
        }
        let [cr0, cr2, cr3, cr4] = self.control;
        writeln!(f, "CR0 {cr0:016x} CR2 {cr2:016x} CR3 {cr3:016x} CR4 {cr4:016x}")?;
        let [ds, es, fs, gs] = &self.data;
        let segments = [("CS", &self.cs), ("SS", &self.ss), ("DS", ds), ("ES", es), ("FS", fs), ("GS", gs)];
        let row = segments.map(|(name, segment)| format!("{name} {:04x} @{:x}", segment.selector, segment.base));
        write!(f, "{}", row.join(" "))
    }
}
