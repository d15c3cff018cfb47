//! How the first vCPU begins when a kernel is entered directly: registers and segments as the boot protocols ask for them.

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};

use super::layout;

/// CR0: protected mode.
const CR0_PE: u64 = 1 << 0;
/// CR0: extension type, always one.
const CR0_ET: u64 = 1 << 4;
/// CR0: paging.
const CR0_PG: u64 = 1 << 31;
/// CR4: physical address extension.
const CR4_PAE: u64 = 1 << 5;
/// EFER: long mode enabled and active.
const EFER_LME_LMA: u64 = 1 << 8 | 1 << 10;
/// RFLAGS: the bit that is always one; interrupts are off.
const RFLAGS_RESERVED: u64 = 1 << 1;

/// Selectors that both protocols use (`__BOOT_CS`, `__BOOT_DS`).
const CODE_SELECTOR: u16 = 0x10;
const DATA_SELECTOR: u16 = 0x18;
const TASK_SELECTOR: u16 = 0x20;

/// Where and in which mode the first vCPU enters the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuEntry {
    /// PVH: 32-bit protected mode without paging, EBX points to the start information.
    Pvh {
        /// Entry point.
        entry: u64,
        /// Guest physical address of `hvm_start_info`.
        start_info: u64,
    },
    /// bzImage: long mode with the first 4 GiB mapped one to one, RSI points to the zero page.
    Linux64 {
        /// Entry point.
        entry: u64,
        /// Guest physical address of `boot_params`.
        zero_page: u64,
        /// Guest physical address of the PML4.
        page_tables: u64,
    },
}

impl CpuEntry {
    /// The general registers.
    pub fn registers(&self) -> kvm_regs {
        match *self {
            Self::Pvh { entry, start_info } => {
                kvm_regs { rip: entry, rbx: start_info, rflags: RFLAGS_RESERVED, ..Default::default() }
            }
            Self::Linux64 { entry, zero_page, .. } => {
                kvm_regs { rip: entry, rsi: zero_page, rflags: RFLAGS_RESERVED, ..Default::default() }
            }
        }
    }

    /// The special registers, made from those after power-on.
    pub fn special_registers(&self, power_on: &kvm_sregs) -> kvm_sregs {
        let mut special = *power_on;
        let long = matches!(self, Self::Linux64 { .. });
        special.cs = segment(CODE_SELECTOR, 0xb, long);
        for data in [&mut special.ds, &mut special.es, &mut special.fs, &mut special.gs, &mut special.ss] {
            *data = segment(DATA_SELECTOR, 0x3, false);
        }
        special.tr = kvm_segment { limit: 0x67, selector: TASK_SELECTOR, type_: 0xb, present: 1, ..Default::default() };
        special.gdt = kvm_dtable { base: layout::GDT, limit: 8 * GDT.len() as u16 - 1, ..Default::default() };
        special.idt = kvm_dtable::default();
        special.cr0 = CR0_PE | CR0_ET;
        special.cr4 = 0;
        if let Self::Linux64 { page_tables, .. } = *self {
            special.cr3 = page_tables;
            special.cr4 = CR4_PAE;
            special.cr0 |= CR0_PG;
            special.efer |= EFER_LME_LMA;
        }
        special
    }
}

/// A flat segment. `long`: 64-bit code.
fn segment(selector: u16, kind: u8, long: bool) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_: kind,
        present: 1,
        dpl: 0,
        db: u8::from(!long),
        s: 1,
        l: u8::from(long),
        g: 1,
        ..Default::default()
    }
}

/// The GDT that belongs to the selectors: two empty entries, 64-bit code, data, and a task segment of 104 bytes.
pub(super) const GDT: [u64; 5] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x0000_8b00_0000_0067];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pvh_enters_protected_mode_without_paging_and_with_interrupts_off() {
        let entry = CpuEntry::Pvh { entry: 0x100_0000, start_info: layout::START_INFO };

        let special = entry.special_registers(&kvm_sregs::default());
        let registers = entry.registers();

        assert_eq!((special.cr0 & CR0_PE, special.cr0 & CR0_PG, special.efer), (CR0_PE, 0, 0));
        assert_eq!((special.cs.db, special.cs.l, special.cs.limit), (1, 0, u32::MAX));
        assert_eq!((registers.rip, registers.rbx, registers.rflags), (0x100_0000, layout::START_INFO, 2));
    }

    #[test]
    fn the_64_bit_entry_runs_in_long_mode_on_the_given_page_tables() {
        let entry = CpuEntry::Linux64 { entry: 0x10_0200, zero_page: 0x7000, page_tables: 0x9000 };

        let special = entry.special_registers(&kvm_sregs::default());

        assert_eq!((special.cr3, special.cr4 & CR4_PAE, special.cs.l, special.cs.db), (0x9000, CR4_PAE, 1, 0));
        assert_eq!(special.efer & EFER_LME_LMA, EFER_LME_LMA);
        assert_eq!(entry.registers().rsi, 0x7000);
    }
}
