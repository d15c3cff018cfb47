//! Features, status and registers.

use super::*;

const FEATURES_OK: u8 = 8;

/// Accepts exactly `features`; returns whether the device does.
fn accepts(bench: &mut Bench, features: u64) -> bool {
    bench.write_common(0x14, 1, 0);
    bench.write_common(0x14, 1, 3);
    for (select, half) in [(0, features & 0xffff_ffff), (1, features >> 32)] {
        bench.write_common(0x08, 4, select);
        bench.write_common(0x0c, 4, half);
    }
    bench.write_common(0x14, 1, 11);
    bench.status() & FEATURES_OK != 0
}

#[test]
fn each_device_says_what_it_is() {
    for candidate in &CANDIDATES {
        let running = candidate.plugged();
        let config = crate::vmm::pci::PciFunction::config(&running.bench.pci);

        assert_eq!(config.u32(0), 0x1040_1af4 + (u32::from(candidate.number) << 16), "{}", candidate.name);
        assert_eq!(config.u8(8), 1, "{}: revision", candidate.name);
    }
}

#[test]
fn exactly_the_offered_features_can_be_accepted() {
    for candidate in &CANDIDATES {
        let mut bench = candidate.plugged().bench;
        let offered = bench.offered();
        assert_eq!(offered & GENERAL, GENERAL, "{}", candidate.name);
        let own = offered & !GENERAL;
        assert_eq!(own >> 24 & 0x3ff_ffff, 0, "{}: bits 24 to 49 are not a device's own", candidate.name);

        for bit in 0..64 {
            let feature = 1 << bit | VERSION_1;
            let known = offered & 1 << bit != 0;
            assert_eq!(accepts(&mut bench, feature), known, "{}: feature {bit}", candidate.name);
        }
        assert!(accepts(&mut bench, offered), "{}", candidate.name);
        assert!(!accepts(&mut bench, offered & !VERSION_1), "{}: a legacy driver", candidate.name);
    }
}

#[test]
fn the_status_goes_forward_step_by_step_and_back_by_reset_only() {
    for candidate in &CANDIDATES {
        let mut bench = candidate.plugged().bench;
        let name = candidate.name;

        bench.write_common(0x14, 1, 1);
        bench.write_common(0x14, 1, 3);
        bench.write_common(0x14, 1, 7);
        assert_eq!(bench.status(), 3, "{name}: the driver cannot be ready before its features are");
        bench.write_common(0x14, 1, 0x43);
        assert_eq!(bench.status(), 3, "{name}: only the device asks for a reset");
        bench.negotiate(0);
        bench.write_common(0x14, 1, 1);
        assert_eq!(bench.status(), 11, "{name}: nothing is taken back");
        bench.write_common(0x14, 1, 0x8b);
        assert_eq!(bench.status(), 0x8b, "{name}: the driver has given up");
        bench.write_common(0x14, 1, 0);
        assert_eq!(bench.status(), 0, "{name}");
    }
}

#[test]
fn queues_have_sizes_that_a_driver_can_use_and_there_are_no_others() {
    for candidate in &CANDIDATES {
        let mut bench = candidate.plugged().bench;
        let name = candidate.name;
        let count = bench.common(0x12, 2);
        assert!(count > 0, "{name}");

        for queue in 0..count + 3 {
            bench.write_common(0x16, 2, queue);
            let size = bench.common(0x18, 2);
            bench.write_common(0x18, 2, 2 * size);
            assert_eq!(bench.common(0x18, 2), size, "{name}: a queue cannot grow");
            assert_eq!(size.is_power_of_two(), queue < count, "{name}: queue {queue}");
            // One vector a queue, one for the configuration.
            bench.write_common(0x1a, 2, queue + 1);
            let vector = bench.common(0x1a, 2);
            assert_eq!(vector, if queue < count { queue + 1 } else { 0 }, "{name}: queue {queue}");
        }
        bench.write_common(0x10, 2, count + 1);
        assert_eq!(bench.common(0x10, 2), 0xffff, "{name}: there are no more vectors");
    }
}

#[test]
fn the_configuration_reads_the_same_at_any_width_and_as_zero_beyond_its_end() {
    for candidate in &CANDIDATES {
        let mut running = candidate.started(0);
        let (bench, name) = (&mut running.bench, candidate.name);
        let generation = bench.common(0x15, 1);
        let bytes: Vec<u8> = (0..candidate.config + 16).map(|offset| bench.config(offset, 1) as u8).collect();

        for width in [2usize, 4, 8] {
            for offset in 0..bytes.len() - width {
                let mut expected = [0; 8];
                expected[..width].copy_from_slice(&bytes[offset..offset + width]);
                let read = bench.config(offset as u64, width);
                assert_eq!(read, u64::from_le_bytes(expected), "{name}: {width} bytes at {offset}");
            }
        }
        assert!(bytes[candidate.config as usize..].iter().all(|&byte| byte == 0), "{name}: beyond its end");
        for offset in [0x100, 0xff0, 0xff8, 0xffc, 0xfff] {
            assert_eq!(bench.config(offset, 8), 0, "{name}: at {offset:#x}");
        }
        assert_eq!(bench.common(0x15, 1), generation, "{name}: reading changes nothing");
    }
}

#[test]
fn whatever_is_written_to_the_configuration_the_device_goes_on() {
    for candidate in &CANDIDATES {
        let mut running = candidate.started(0);
        for value in [u64::MAX, 0, 0x0101_0101_0101_0101] {
            for offset in (0..candidate.config + 16).chain([0xff8, 0xfff]) {
                for width in [1, 2, 4, 8] {
                    running.bench.write_config(offset, width, value);
                    running.bench.config(offset, width);
                }
            }
        }

        assert_eq!(running.bench.status(), 15, "{}", candidate.name);
        running.serve();
    }
}
