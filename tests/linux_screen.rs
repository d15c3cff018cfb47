//! Linux's graphics on the VGA and on virtio-gpu: its console and pictures of known pixels, in the modes that it sets.

#[allow(dead_code, reason = "each test target uses a part of it")]
mod common;

use std::time::{Duration, Instant};

use common::{
    linux::{self, Linux},
    machine::PATIENCE,
    picture::{BLUE, BLUE_CONSOLE, plain},
};
use lodge::{screen::Surface, vmm::machine::Graphics};

/// Its console turns blue, which it says; it goes on when a line comes.
fn blue_console() -> String {
    format!(
        r#"
{BLUE_CONSOLE}
echo "the console is blue $(cat /sys/class/graphics/fb0/virtual_size) $(./modes preferred)"
read line
"#
    )
}

/// The cursor of tests/guest/programs/modes.c: where it is, its size and its colour.
const CURSOR: (u32, u32, u32, u32) = (100, 50, 64, 0x123456);

/// A guest whose screen somebody looks at.
struct Viewer(Linux);

impl Viewer {
    fn start(graphics: Graphics, script: &str) -> Option<Self> {
        let guest = Linux::run(script, &["modes"], |config| config.graphics = graphics)?;
        guest.guest.machine.screen().attach();
        Some(Self(guest))
    }

    /// The screen as it is now.
    fn surface(&self) -> Surface {
        let screen = self.0.guest.machine.screen();
        screen.refresh();
        let mut seen = Surface::default();
        screen.look(0, &mut |surface, _| seen = surface.clone());
        seen
    }

    /// Waits until the guest says `said` and its screen then is `expected`; lets the guest go on.
    fn expect(&self, said: &str, expected: &Surface) {
        self.0.wait_for(said);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.surface();
            if seen == *expected {
                break;
            }
            if Instant::now() > deadline {
                let differing = seen.pixels.iter().zip(&expected.pixels).position(|(seen, expected)| seen != expected);
                let at = differing.unwrap_or_default();
                panic!(
                    "{said}: the screen of {}x{} is not that of {}x{}: pixel {at} is {:x?}, not {:x?}",
                    seen.width,
                    seen.height,
                    expected.width,
                    expected.height,
                    seen.pixels.get(at),
                    expected.pixels.get(at)
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(self.0.guest.machine.serial_input().enqueue(b"\n"), 1);
    }
}

/// The picture of tests/guest/programs/modes.c.
fn picture(width: u32, height: u32) -> Surface {
    let mut picture = Surface::new(width, height);
    for y in 0..height {
        for x in 0..width {
            picture.pixels[(y * width + x) as usize] =
                (x * 255 / (width - 1)) << 16 | (y * 255 / (height - 1)) << 8 | (x ^ y) & 0xff;
        }
    }
    picture
}

#[test]
fn the_vga_shows_console_and_pictures_in_the_modes_that_linux_sets() {
    let script = format!("{}./modes show 640x480 1024x768 1280x800", blue_console());
    let Some(viewer) = Viewer::start(Graphics::Vga, &script) else { return };

    viewer.expect("the console is blue 1280,800 1280x800", &plain(1280, 800, BLUE));
    for (width, height) in [(640, 480), (1024, 768), (1280, 800)] {
        viewer.expect(&format!("shows {width}x{height}"), &picture(width, height));
    }

    linux::assert_clean(&viewer.0.run_to_end());
}

#[test]
fn virtio_gpu_shows_console_pictures_and_cursor_and_follows_the_viewers_window() {
    let script = format!(
        "{}./modes show 640x480 1024x768
        echo 'likes another size'
        until [ \"$(./modes preferred)\" = 1240x720 ]; do usleep 10000; done
        ./modes cursor 1240x720",
        blue_console()
    );
    let Some(viewer) = Viewer::start(Graphics::Virtio, &script) else { return };

    viewer.expect("the console is blue 1280,800 1280x800", &plain(1280, 800, BLUE));
    for (width, height) in [(640, 480), (1024, 768)] {
        viewer.expect(&format!("shows {width}x{height}"), &picture(width, height));
    }
    viewer.0.wait_for("likes another size");
    viewer.0.guest.machine.screen().set_preferred_size(1240, 720);
    let mut expected = picture(1240, 720);
    let (left, top, size, colour) = CURSOR;
    for y in top..top + size {
        let start = (y * expected.width + left) as usize;
        expected.pixels[start..start + size as usize].fill(colour);
    }
    viewer.expect("shows 1240x720", &expected);

    linux::assert_clean(&viewer.0.run_to_end());
}
