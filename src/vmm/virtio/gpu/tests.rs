//! A driver draws; viewers look.

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::{
    screen::{Generation, Rect, Screen, Surface},
    vmm::{
        device::Device,
        display::edid,
        virtio::testing::{Bench, TestQueue, memory, wait_for},
    },
};

const DONE: u32 = 0x1100;
const BGRX: u32 = 2;
const BGRA: u32 = 1;
/// Where the tests have the pixels of resource 1.
const PIXELS: u64 = 1 << 20;
/// Where the tests have the pixels of resource 2.
const OTHER_PIXELS: u64 = 2 << 20;

/// A GPU, its driver and a viewer.
struct Gpu {
    bench: Bench,
    queues: Vec<TestQueue>,
    /// Where the pixels are. The queues have a memory of their own.
    memory: Arc<GuestMemory>,
    screen: Arc<GpuScreen>,
}

impl Gpu {
    fn new() -> Self {
        let memory = memory();
        let (device, screen) = VirtioGpu::new("gpu0", memory.clone());
        let (bench, queues) = Bench::started(device, FEATURE_EDID, 16);
        screen.attach();
        Self { bench, queues, memory, screen }
    }

    /// A GPU that shows resource 1 of 200 × 100 pixels.
    fn showing() -> Self {
        let mut gpu = Self::new();
        gpu.create(1, BGRX, 200, 100, PIXELS);
        assert_eq!(gpu.command(&[0x103, 0, 0, 0, 0, 0, 0, 0, 200, 100, 0, 1]), DONE);
        gpu
    }

    /// Sends a command of these words to a queue and returns the answer.
    fn send(&mut self, queue: u16, words: &[u32], room: u32) -> Vec<u8> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let writable: &[u32] = if room > 0 { &[room] } else { &[] };
        let sent = self.queues[usize::from(queue)].send(&[&bytes], writable);
        self.bench.kick(queue);
        let (head, written) = self.queues[usize::from(queue)].wait();
        assert_eq!(head, sent.head);
        let mut answer = sent.answer();
        answer.truncate(written as usize);
        answer
    }

    /// Sends a command (type, five more words of the header, then the rest) and returns the type of the answer.
    fn command(&mut self, words: &[u32]) -> u32 {
        word(&self.send(0, words, 24), 0)
    }

    fn create(&mut self, id: u32, format: u32, width: u32, height: u32, pixels: u64) {
        assert_eq!(self.command(&[0x101, 0, 0, 0, 0, 0, id, format, width, height]), DONE);
        let len = width * height * 4;
        assert_eq!(self.command(&[0x106, 0, 0, 0, 0, 0, id, 1, pixels as u32, 0, len, 0]), DONE);
    }

    fn transfer(&mut self, id: u32, rect: [u32; 4], offset: u32) -> u32 {
        let [x, y, width, height] = rect;
        self.command(&[0x105, 0, 0, 0, 0, 0, x, y, width, height, offset, 0, id, 0])
    }

    fn flush(&mut self, id: u32, rect: [u32; 4]) -> u32 {
        let [x, y, width, height] = rect;
        self.command(&[0x104, 0, 0, 0, 0, 0, x, y, width, height, id, 0])
    }

    /// Writes a pixel of resource 1 as the guest does.
    fn draw(&self, x: u64, y: u64, pixel: u32) {
        self.memory.write_obj(pixel, GuestAddress(PIXELS + (y * 200 + x) * 4)).unwrap();
    }

    fn cursor(&mut self, kind: u32, x: i32, y: i32, resource: u32) {
        self.send(1, &[kind, 0, 0, 0, 0, 0, 0, x as u32, y as u32, 0, resource, 9, 70, 0], 0);
    }

    fn surface(&self) -> Surface {
        self.screen.refresh();
        let mut surface = Surface::default();
        self.screen.look(0, &mut |shown, _| surface = shown.clone());
        surface
    }

    fn damage(&self, since: Generation) -> Vec<Rect> {
        self.screen.refresh();
        let mut damage = Vec::new();
        self.screen.look(since, &mut |_, rects| damage = rects.to_vec());
        damage.sort_by_key(|rect| (rect.y, rect.x));
        damage
    }
}

fn word(bytes: &[u8], index: usize) -> u32 {
    u32::from_le_bytes(bytes[index * 4..][..4].try_into().unwrap())
}

fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
    Rect { x, y, width, height }
}

#[test]
fn the_driver_learns_the_preferred_size_and_the_monitor() {
    let mut gpu = Gpu::new();
    gpu.screen.set_preferred_size(1600, 900);

    let info = gpu.send(0, &[0x100, 0, 0, 0, 0, 0], 1024);
    let monitor = gpu.send(0, &[0x10a, 0, 0, 0, 0, 0, 0, 0], 2048);

    assert_eq!((info.len(), word(&info, 0)), (408, 0x1101));
    assert_eq!([6, 7, 8, 9, 10].map(|index| word(&info, index)), [0, 0, 1600, 900, 1]);
    assert!(info[48..].iter().all(|&byte| byte == 0), "there is only one screen");
    assert_eq!((monitor.len(), word(&monitor, 0), word(&monitor, 6)), (1056, 0x1104, 128));
    assert_eq!(monitor[32..160], edid::edid(1600, 900));
}

#[test]
fn a_new_preferred_size_is_a_configuration_change_that_the_driver_acknowledges() {
    let mut gpu = Gpu::new();
    let generation = gpu.bench.common(0x15, 1);
    assert_eq!([0, 4, 8, 12].map(|offset| gpu.bench.config(offset, 4)), [0, 0, 1, 0]);

    gpu.screen.set_preferred_size(800, 600);
    let (events, after) = (gpu.bench.config(0, 4), gpu.bench.common(0x15, 1));
    gpu.bench.write_config(4, 4, 1);
    gpu.screen.set_preferred_size(800, 600);

    assert_eq!(events, 1);
    assert_ne!(after, generation);
    assert_eq!(gpu.bench.isr() & 2, 2);
    assert_eq!(gpu.bench.config(0, 4), 0, "the same size again is no change");
}

#[test]
fn flushed_parts_are_seen_and_nothing_else() {
    let mut gpu = Gpu::showing();
    let before = gpu.screen.refresh();
    gpu.draw(70, 20, 0xff12_3456);
    gpu.draw(0, 0, 0x00ff_ffff);
    assert_eq!(gpu.damage(before), [], "nothing is flushed yet");

    gpu.transfer(1, [64, 16, 64, 16], (16 * 200 + 64) * 4);
    assert_eq!(gpu.flush(1, [64, 16, 64, 16]), DONE);

    assert_eq!(gpu.damage(before), [rect(64, 20, 8, 2)]);
    let surface = gpu.surface();
    assert_eq!((surface.width, surface.height), (200, 100));
    assert_eq!(surface.row(20)[69..72], [0, 0x12_3456, 0]);
    assert_eq!(surface.row(0)[0], 0);
}

#[test]
fn a_flush_of_equal_pixels_damages_nothing() {
    let mut gpu = Gpu::showing();
    gpu.draw(3, 3, 5);
    gpu.flush(1, [0, 0, 200, 100]);
    let before = gpu.screen.refresh();

    gpu.flush(1, [0, 0, 200, 100]);

    assert_eq!(gpu.screen.refresh(), before);
}

#[test]
fn a_part_of_a_resource_can_be_the_screen() {
    let mut gpu = Gpu::showing();
    assert_eq!(gpu.command(&[0x103, 0, 0, 0, 0, 0, 100, 50, 64, 32, 0, 1]), DONE);
    let before = gpu.screen.refresh();
    gpu.draw(101, 52, 9);

    gpu.flush(1, [0, 0, 200, 53]);

    assert_eq!(gpu.damage(before), [rect(0, 2, 8, 2)]);
    let surface = gpu.surface();
    assert_eq!((surface.width, surface.height), (64, 32));
    assert_eq!(surface.row(2)[1], 9);
}

#[test]
fn a_flip_to_another_resource_shows_it() {
    let mut gpu = Gpu::showing();
    gpu.create(2, BGRX, 200, 100, OTHER_PIXELS);
    gpu.memory.write_obj(7u32, GuestAddress(OTHER_PIXELS + (99 * 200 + 199) * 4)).unwrap();
    let before = gpu.screen.refresh();

    gpu.command(&[0x103, 0, 0, 0, 0, 0, 0, 0, 200, 100, 0, 2]);

    assert_eq!(gpu.damage(before), [rect(192, 98, 8, 2)]);
    assert_eq!(gpu.surface().row(99)[199], 7);
}

#[test]
fn a_screen_without_a_resource_is_off() {
    let mut gpu = Gpu::showing();
    gpu.draw(0, 0, 5);
    gpu.flush(1, [0, 0, 1, 1]);
    let before = gpu.screen.refresh();
    assert!(gpu.screen.is_shown());

    gpu.command(&[0x103, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

    assert!(!gpu.screen.is_shown());
    assert_eq!(gpu.damage(before), [rect(0, 0, 8, 2)]);
    assert_eq!(gpu.surface(), Surface::new(200, 100));
}

#[test]
fn the_end_of_the_shown_resource_ends_the_picture() {
    let mut gpu = Gpu::showing();

    assert_eq!(gpu.command(&[0x102, 0, 0, 0, 0, 0, 1, 0]), DONE);

    assert!(!gpu.screen.is_shown());
    assert_eq!(gpu.flush(1, [0, 0, 1, 1]), 0x1203);
}

#[test]
fn pixels_transferred_from_elsewhere_are_copied() {
    let mut gpu = Gpu::showing();
    gpu.draw(150, 80, 0x11);

    // The pixel at (150, 80) goes to (2, 1).
    assert_eq!(gpu.transfer(1, [2, 1, 1, 1], (80 * 200 + 150) * 4), DONE);
    gpu.draw(150, 80, 0x22);
    gpu.flush(1, [0, 0, 200, 100]);
    assert_eq!(gpu.surface().row(1)[1..4], [0, 0x11, 0]);
    assert_eq!(gpu.surface().row(80)[150], 0x11, "what was there is kept until the next transfer");

    gpu.transfer(1, [150, 80, 1, 1], (80 * 200 + 150) * 4);
    gpu.flush(1, [150, 80, 1, 1]);
    assert_eq!(gpu.surface().row(80)[150], 0x22);
}

#[test]
fn the_picture_outlives_its_place_in_the_guests_memory() {
    let mut gpu = Gpu::showing();
    gpu.draw(10, 10, 0x33);

    assert_eq!(gpu.command(&[0x107, 0, 0, 0, 0, 0, 1, 0]), DONE);
    gpu.draw(10, 10, 0x44);
    gpu.flush(1, [0, 0, 200, 100]);

    assert_eq!(gpu.surface().row(10)[10], 0x33);
    assert_eq!(gpu.command(&[0x107, 0, 0, 0, 0, 0, 1, 0]), 0x1200, "it is taken away already");
}

#[test]
fn a_backing_in_pieces_is_one_picture() {
    let mut gpu = Gpu::new();
    gpu.command(&[0x101, 0, 0, 0, 0, 0, 1, BGRX, 16, 16]);
    let second = OTHER_PIXELS as u32;
    gpu.command(&[0x106, 0, 0, 0, 0, 0, 1, 2, PIXELS as u32, 0, 100, 0, second, 0, 1024 - 100, 0]);
    gpu.command(&[0x103, 0, 0, 0, 0, 0, 0, 0, 16, 16, 0, 1]);
    gpu.memory.write_obj(5u32, GuestAddress(PIXELS + 96)).unwrap();
    gpu.memory.write_obj(6u32, GuestAddress(OTHER_PIXELS)).unwrap();

    assert_eq!(gpu.surface().row(1)[7..11], [0, 5, 6, 0]);
}

#[test]
fn the_pointer_lies_over_the_picture_and_moves() {
    let mut gpu = Gpu::showing();
    gpu.create(2, BGRA, 64, 64, OTHER_PIXELS);
    for pixel in 0..64 * 64 {
        gpu.memory.write_obj(0xff00_00aau32, GuestAddress(OTHER_PIXELS + pixel * 4)).unwrap();
    }
    let before = gpu.screen.refresh();

    gpu.cursor(0x300, -60, 10, 2);
    let appeared = gpu.damage(before);
    assert_eq!(gpu.surface().row(10)[..6], [0xaa, 0xaa, 0xaa, 0xaa, 0, 0]);
    let before = gpu.screen.refresh();
    gpu.cursor(0x301, 190, 96, 0);
    let moved = gpu.damage(before);
    assert_eq!(gpu.surface().row(10)[..2], [0, 0]);
    assert_eq!(gpu.surface().row(99)[188..192], [0, 0, 0xaa, 0xaa]);
    let cursor = gpu.screen.cursor().unwrap();
    let mut bare = Surface::default();
    gpu.screen.look_without_cursor(0, &mut |shown, _| bare = shown.clone());
    gpu.cursor(0x300, 190, 96, 0);

    assert_eq!((cursor.points_to(), cursor.image.hot_spot), ((199, 159), (9, 63)), "a hot spot lies in the picture");
    assert_eq!(bare, Surface::new(200, 100));
    assert_eq!(appeared, [rect(0, 10, 8, 64)]);
    assert_eq!(moved, [rect(0, 10, 8, 64), rect(184, 96, 16, 4)]);
    assert_eq!(gpu.surface(), Surface::new(200, 100));
    assert_eq!(gpu.screen.cursor(), None);
}

#[test]
fn an_answer_carries_the_fence_of_its_command() {
    let mut gpu = Gpu::new();

    let answer = gpu.send(0, &[0x100, 1, 0x1234, 0x5678, 9, 0], 1024);

    assert_eq!([1, 2, 3, 4].map(|index| word(&answer, index)), [1, 0x1234, 0x5678, 9]);
}

#[test]
fn what_cannot_be_done_is_refused_with_a_reason() {
    let mut gpu = Gpu::showing();
    let (unspecified, memory_full, no_scanout, no_resource, parameter) = (0x1200, 0x1201, 0x1202, 0x1203, 0x1205);
    let cases: [(&[u32], u32); 20] = [
        (&[0x101, 0, 0, 0, 0, 0, 0, BGRX, 1, 1], no_resource),
        (&[0x101, 0, 0, 0, 0, 0, 1, BGRX, 1, 1], no_resource),
        (&[0x101, 0, 0, 0, 0, 0, 2, 5, 1, 1], parameter),
        (&[0x101, 0, 0, 0, 0, 0, 2, BGRX, 0, 1], parameter),
        (&[0x101, 0, 0, 0, 0, 0, 2, BGRX, 8192, 8192], parameter),
        (&[0x101, 0, 0, 0, 0, 0, 2, BGRX], parameter),
        (&[0x102, 0, 0, 0, 0, 0, 9, 0], no_resource),
        (&[0x103, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1], no_scanout),
        (&[0x103, 0, 0, 0, 0, 0, 0, 0, 201, 100, 0, 1], parameter),
        (&[0x103, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 9], no_resource),
        (&[0x104, 0, 0, 0, 0, 0, u32::MAX, 0, 2, 1, 1, 0], parameter),
        (&[0x105, 0, 0, 0, 0, 0, 0, 0, 1, 101, 0, 0, 1, 0], parameter),
        (&[0x105, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 9, 0], no_resource),
        (&[0x106, 0, 0, 0, 0, 0, 9, 0], no_resource),
        (&[0x106, 0, 0, 0, 0, 0, 1, 0], unspecified),
        (&[0x106, 0, 0, 0, 0, 0, 1, u32::MAX], parameter),
        (&[0x106, 0, 0, 0, 0, 0, 1, 2, 0, 0, 4, 0], parameter),
        (&[0x107, 0, 0, 0, 0, 0, 9, 0], no_resource),
        (&[0x10a, 0, 0, 0, 0, 0, 1, 0], no_scanout),
        (&[0x108, 0, 0, 0, 0, 0], unspecified),
    ];
    for (command, error) in cases {
        assert_eq!(gpu.command(command), error, "{command:x?}");
    }
    for id in 2..1025 {
        assert_eq!(gpu.command(&[0x101, 0, 0, 0, 0, 0, id, BGRX, 1, 1]), DONE);
    }
    assert_eq!(gpu.command(&[0x101, 0, 0, 0, 0, 0, 2000, BGRX, 1, 1]), memory_full);
    assert_eq!(gpu.bench.status() & 0x40, 0, "the device goes on");
}

#[test]
fn memory_outside_of_the_guest_backs_nothing() {
    let mut gpu = Gpu::new();
    gpu.command(&[0x101, 0, 0, 0, 0, 0, 1, BGRX, 16, 16]);

    assert_eq!(gpu.command(&[0x106, 0, 0, 0, 0, 0, 1, 1, u32::MAX, u32::MAX, 1024, 0]), 0x1205);
    assert_eq!(gpu.transfer(1, [0, 0, 1, 1], 0), 0x1200);
}

#[test]
fn a_command_without_a_header_fails_the_device() {
    let mut gpu = Gpu::new();

    gpu.queues[0].send(&[&[0; 20]], &[24]);
    gpu.bench.kick(0);

    gpu.bench.wait_failed();
}

#[test]
fn a_look_without_viewers_shows_the_picture_and_leaves_the_changes() {
    let mut gpu = Gpu::showing();
    let before = gpu.screen.refresh();
    gpu.screen.detach();
    gpu.draw(1, 1, 5);
    gpu.flush(1, [0, 0, 200, 100]);

    let passing = gpu.surface();
    gpu.screen.attach();

    assert_eq!(passing.row(1)[1], 5);
    assert_eq!(gpu.damage(before), [rect(0, 0, 200, 100)]);
}

#[test]
fn reset_forgets_what_the_driver_has_set_up() {
    let mut gpu = Gpu::showing();

    gpu.bench.pci.reset();
    let once = gpu.bench.pci.save().unwrap();
    gpu.bench.pci.reset();

    assert_eq!(gpu.bench.pci.save().unwrap(), once);
    assert!(!gpu.screen.is_shown());
}

#[test]
fn a_saved_gpu_shows_the_same_in_another_process() {
    let mut gpu = Gpu::showing();
    gpu.draw(5, 5, 0x55);
    gpu.create(2, BGRA, 64, 64, OTHER_PIXELS);
    gpu.memory.write_obj(0xff00_00aau32, GuestAddress(OTHER_PIXELS)).unwrap();
    gpu.cursor(0x300, 20, 20, 2);
    gpu.transfer(1, [0, 0, 1, 1], (5 * 200 + 5) * 4);
    gpu.bench.pci.pause();
    let state = gpu.bench.pci.save().unwrap();

    let (device, screen) = VirtioGpu::new("gpu0", gpu.memory.clone());
    let mut bench = Bench::new(device);
    bench.pci.pause();
    bench.pci.restore(state.clone()).unwrap();
    screen.attach();
    screen.refresh();
    let mut surface = Surface::default();
    screen.look(0, &mut |shown, _| surface = shown.clone());

    assert_eq!(bench.pci.save().unwrap(), state);
    assert_eq!(surface, gpu.surface());
    assert_eq!([surface.row(5)[5], surface.row(0)[0], surface.row(20)[20]], [0x55, 0x55, 0xaa]);
}

#[test]
fn a_damaged_state_is_refused() {
    let mut gpu = Gpu::showing();
    gpu.bench.pci.pause();
    let state = gpu.bench.pci.save().unwrap();
    let damages: [(&str, Value); 6] = [
        ("/device/version", 2.into()),
        ("/device/resources/0/format", 99.into()),
        ("/device/resources/0/width", 100_000.into()),
        ("/device/scanout/x", 1.into()),
        ("/device/cursor/pixels", vec![0; 5].into()),
        ("/device/preferred_size/0", 100_000.into()),
    ];
    for (place, value) in damages {
        let mut damaged = state.clone();
        *damaged.pointer_mut(place).unwrap_or_else(|| panic!("{place} is not in {state}")) = value;

        assert!(gpu.bench.pci.restore(damaged).is_err(), "{place}");
        assert!(!gpu.screen.is_shown(), "{place}");
    }
    gpu.bench.pci.restore(state).unwrap();
    wait_for("the picture", || gpu.screen.is_shown());
}
