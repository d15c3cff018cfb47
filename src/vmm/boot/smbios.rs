//! The SMBIOS tables (DMTF DSP0134 3.0): who the machine is. Guests show them as manufacturer, product, serial number and
//! UUID; the same bytes go to firmware through fw_cfg and to a kernel that is booted directly.
//!
//! No crate writes these: `smbios-lib` and `dmidecode` only read them.

#![forbid(unsafe_code)]

use uuid::Uuid;

use crate::vmm::cpu::Topology;

/// Name of the structures' blob in fw_cfg.
pub const TABLES_FILE: &str = "etc/smbios/smbios-tables";
/// Name of the entry point's blob in fw_cfg.
pub const ANCHOR_FILE: &str = "etc/smbios/smbios-anchor";
/// Bytes of the 64-bit entry point (section 5.2.2).
pub const ANCHOR_SIZE: usize = 24;

const MANUFACTURER: &str = "Lodge";
const PRODUCT: &str = "Lodge PC";

/// What the tables say.
#[derive(Debug, Clone)]
pub struct SmbiosConfig {
    /// The guest's name; its serial number field.
    pub name: String,
    /// The guest's UUID.
    pub uuid: Uuid,
    /// Memory in bytes.
    pub memory: u64,
    /// Sockets, and for each socket its cores and threads.
    pub topology: Topology,
}

/// The structures, one behind the other, ended by the end-of-table structure.
pub fn tables(config: &SmbiosConfig) -> Vec<u8> {
    let mut tables = Tables::default();
    tables.bios();
    tables.system(&config.name, config.uuid);
    tables.chassis();
    for socket in 0..config.topology.sockets {
        tables.processor(socket, config.topology);
    }
    tables.memory(config.memory);
    tables.structure(127, &[], &[]);
    tables.bytes
}

/// The 64-bit entry point for structures of `length` bytes at guest physical `address`. Firmware that places the tables
/// itself mends address and checksum.
pub fn anchor(address: u64, length: usize) -> [u8; ANCHOR_SIZE] {
    let mut anchor = [0; ANCHOR_SIZE];
    anchor[..5].copy_from_slice(b"_SM3_");
    anchor[6] = ANCHOR_SIZE as u8;
    // Version 3.0, revision 0 of the specification, entry point revision 1.
    (anchor[7], anchor[8], anchor[10]) = (3, 0, 1);
    anchor[12..16].copy_from_slice(&(length as u32).to_le_bytes());
    anchor[16..24].copy_from_slice(&address.to_le_bytes());
    anchor[5] = anchor.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte)).wrapping_neg();
    anchor
}

#[derive(Default)]
struct Tables {
    bytes: Vec<u8>,
    next_handle: u16,
}

impl Tables {
    /// Appends a structure of `kind` with its fields behind the header, and its strings (numbered from 1 in `fields`).
    /// Returns its handle.
    fn structure(&mut self, kind: u8, fields: &[u8], strings: &[&str]) -> u16 {
        let handle = self.next_handle;
        self.next_handle += 1;
        self.bytes.extend([kind, 4 + fields.len() as u8]);
        self.bytes.extend(handle.to_le_bytes());
        self.bytes.extend(fields);
        for string in strings {
            // A zero would end the string early; SMBIOS strings are at most 64 bytes by custom.
            self.bytes.extend(string.bytes().filter(|&byte| byte != 0).take(64));
            self.bytes.push(0);
        }
        if strings.is_empty() {
            self.bytes.push(0);
        }
        self.bytes.push(0);
        handle
    }

    /// Type 0 (section 7.1): a virtual machine's firmware.
    fn bios(&mut self) {
        let mut fields = vec![1, 2];
        fields.extend(0xe800u16.to_le_bytes());
        fields.push(3);
        fields.push(0);
        // Characteristics are not given; extension byte 2: virtual machine, ACPI is supported in byte 1.
        fields.extend(8u64.to_le_bytes());
        fields.extend([1, 1 << 4]);
        fields.extend([0, 0, 0xff, 0xff]);
        self.structure(0, &fields, &[MANUFACTURER, env!("CARGO_PKG_VERSION"), "01/01/2026"]);
    }

    /// Type 1 (section 7.2).
    fn system(&mut self, name: &str, uuid: Uuid) {
        let mut fields = vec![1, 2, 3, 4];
        fields.extend(uuid.to_bytes_le());
        // Woken by the power switch; no SKU, no family.
        fields.extend([6, 0, 0]);
        self.structure(1, &fields, &[MANUFACTURER, PRODUCT, env!("CARGO_PKG_VERSION"), name]);
    }

    /// Type 3 (section 7.4): "other", in a safe state.
    fn chassis(&mut self) {
        let mut fields = vec![1, 1, 0, 0, 0, 3, 3, 3, 2];
        fields.extend([0; 4]);
        fields.extend([0, 0, 0, 0, 0]);
        self.structure(3, &fields, &[MANUFACTURER]);
    }

    /// Type 4 (section 7.5).
    fn processor(&mut self, socket: u32, topology: Topology) {
        let short = |count: u32| u8::try_from(count).unwrap_or(0xff);
        let threads = topology.cores.saturating_mul(topology.threads);
        let mut fields = vec![1, 3, 1, 2];
        fields.extend([0; 8]);
        fields.extend([0, 0]);
        fields.extend([0; 6]);
        // Enabled, other upgrade; no caches described.
        fields.extend([0x41, 1]);
        fields.extend([0xff; 6]);
        fields.extend([0, 0, 0]);
        fields.extend([short(topology.cores), short(topology.cores), short(threads)]);
        // Characteristics: unknown; family 2: other.
        fields.extend([2, 0]);
        fields.extend(1u16.to_le_bytes());
        for count in [topology.cores, topology.cores, threads] {
            fields.extend((count.min(0xffff) as u16).to_le_bytes());
        }
        self.structure(4, &fields, &[&format!("CPU {socket}"), MANUFACTURER]);
    }

    /// Types 16, 17 and 19 (sections 7.17, 7.18, 7.20): one array with one device that holds all memory.
    fn memory(&mut self, memory: u64) {
        let kib = memory / 1024;
        let mib = (memory / (1024 * 1024)) as u32;

        let mut array = vec![1, 3, 6];
        array.extend(0x8000_0000u32.to_le_bytes());
        array.extend(0xfffeu16.to_le_bytes());
        array.extend(1u16.to_le_bytes());
        array.extend(memory.to_le_bytes());
        let array = self.structure(16, &array, &[]);

        let mut device = Vec::new();
        device.extend(array.to_le_bytes());
        device.extend(0xfffeu16.to_le_bytes());
        device.extend([0xff; 4]);
        // 0x7fff: the size is in the extended field (MiB).
        device.extend(if mib < 0x7fff { mib as u16 } else { 0x7fff }.to_le_bytes());
        device.extend([9, 0, 1, 0, 7]);
        device.extend(2u16.to_le_bytes());
        device.extend(0u16.to_le_bytes());
        device.extend([2, 0, 0, 0, 0]);
        device.extend(mib.to_le_bytes());
        device.extend([0; 8]);
        self.structure(17, &device, &["DIMM 0", MANUFACTURER]);

        let mut mapped = Vec::new();
        let (start, end) = (0u32, u32::try_from(kib.saturating_sub(1)).unwrap_or(u32::MAX));
        let extended = end == u32::MAX;
        mapped.extend(if extended { u32::MAX } else { start }.to_le_bytes());
        mapped.extend(end.to_le_bytes());
        mapped.extend(array.to_le_bytes());
        mapped.push(1);
        mapped.extend(0u64.to_le_bytes());
        mapped.extend(if extended { memory.saturating_sub(1) } else { 0 }.to_le_bytes());
        self.structure(19, &mapped, &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SmbiosConfig {
        SmbiosConfig {
            name: "fedora".into(),
            uuid: Uuid::from_u128(0x00112233_4455_6677_8899_aabbccddeeff),
            memory: 2 << 30,
            topology: Topology { sockets: 2, cores: 2, threads: 1 },
        }
    }

    /// Splits structures as an operating system does: by their length, then by the double zero.
    fn structures(mut bytes: &[u8]) -> Vec<(u8, &[u8], Vec<String>)> {
        let mut found = Vec::new();
        while let [kind, length, ..] = *bytes {
            let (formatted, rest) = bytes.split_at(usize::from(length));
            let end = rest.windows(2).position(|pair| pair == [0, 0]).expect("the strings end") + 2;
            let strings = rest[..end - 2].split(|&byte| byte == 0).map(|s| String::from_utf8_lossy(s).into()).collect();
            found.push((kind, formatted, strings));
            bytes = &rest[end..];
        }
        found
    }

    #[test]
    fn the_system_structure_names_the_guest_and_its_uuid() {
        let tables = tables(&config());
        let structures = structures(&tables);
        let (_, system, strings) = structures.iter().find(|(kind, ..)| *kind == 1).unwrap();

        assert_eq!(system[8..24], config().uuid.to_bytes_le());
        assert_eq!(strings[usize::from(system[7]) - 1], "fedora");
    }

    #[test]
    fn formatted_parts_have_the_lengths_of_the_specification_and_the_table_ends() {
        let tables = tables(&config());
        let lengths: Vec<_> = structures(&tables).iter().map(|(kind, part, _)| (*kind, part.len())).collect();

        assert_eq!(lengths, [(0, 24), (1, 27), (3, 22), (4, 48), (4, 48), (16, 23), (17, 40), (19, 31), (127, 4)]);
    }

    #[test]
    fn the_entry_point_sums_up_to_zero() {
        let anchor = anchor(0xf_1000, 300);

        assert_eq!(anchor.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte)), 0);
        assert_eq!(&anchor[..5], b"_SM3_");
    }

    #[test]
    fn a_name_with_a_zero_byte_cannot_end_the_table_early() {
        let hostile = SmbiosConfig { name: "a\0\0b".into(), ..config() };

        let tables = tables(&hostile);

        assert_eq!(structures(&tables).last().unwrap().0, 127);
    }
}
