//! A machine to test with: its events, its debug log and its serial output can be waited for.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    sync::{
        Arc, Condvar, Mutex,
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant},
};

use lodge::vmm::{
    cpu::CpuConfig,
    devices::serial::SerialOutput,
    machine::{Boot, Firmware, Graphics, Machine, MachineConfig, MachineError, MachineEvent, Peripherals},
    memory::MemoryBacking,
};
use uuid::Uuid;

/// Longer than anything here takes on a busy host. A stock kernel takes minutes where KVM has no VT-x or AMD-V, and GRUB before it.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Bytes that a guest has written, which a test can wait for.
#[derive(Clone, Default)]
pub struct Output(Arc<(Mutex<Vec<u8>>, Condvar)>);

impl Output {
    fn push(&self, bytes: &[u8]) {
        let (all, changed) = &*self.0;
        all.lock().unwrap().extend_from_slice(bytes);
        changed.notify_all();
    }

    /// All of it, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.0.lock().unwrap()).into_owned()
    }

    /// Waits until it holds `wanted` at least `times` times.
    pub fn wait_for(&self, wanted: &str, times: usize) {
        let enough = |text: &str| (text.matches(wanted).count() >= times).then_some(());
        self.wait_until(&format!("{wanted:?} {times} times"), enough);
    }

    /// Waits until `found` finds something in it, which `wanted` describes.
    pub fn wait_until<T>(&self, wanted: &str, mut found: impl FnMut(&str) -> Option<T>) -> T {
        let (all, changed) = &*self.0;
        let deadline = Instant::now() + PATIENCE;
        let mut bytes = all.lock().unwrap();
        loop {
            let text = String::from_utf8_lossy(&bytes);
            if let Some(found) = found(&text) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{wanted} did not come: {text}");
            drop(text);
            bytes = changed.wait_timeout(bytes, left).unwrap().0;
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SerialOutput for Output {
    fn write(&mut self, bytes: &[u8]) {
        self.push(bytes);
    }
}

/// A machine with its outputs.
pub struct TestMachine {
    /// The machine.
    pub machine: Machine,
    /// What firmware says.
    pub debug: Output,
    /// What the guest says.
    pub serial: Output,
    events: Receiver<MachineEvent>,
}

impl TestMachine {
    /// Waits for the machine's next event.
    pub fn event(&self) -> MachineEvent {
        match self.events.recv_timeout(PATIENCE) {
            Ok(event) => event,
            Err(_) => panic!("no event came; debug log:\n{}\nserial:\n{}", self.debug.text(), self.serial.text()),
        }
    }

    /// Waits until the guest has said `wanted` at the serial port. An event before that is a failure, and so is silence.
    pub fn wait_for(&self, wanted: &str) {
        const INTERVAL: Duration = Duration::from_millis(50);
        let (mut deadline, mut said) = (Instant::now() + PATIENCE, 0);
        loop {
            let text = self.serial.text();
            if text.contains(wanted) {
                return;
            }
            if text.len() > said {
                (deadline, said) = (Instant::now() + PATIENCE, text.len());
            }
            let event = self.events.recv_timeout(INTERVAL);
            assert!(event.is_err(), "{wanted:?} did not come, but {event:?} after: {text}");
            assert!(Instant::now() < deadline, "{wanted:?} did not come: {text}");
        }
    }

    /// Whether no event has come.
    pub fn is_calm(&self) -> bool {
        self.events.try_recv().is_err()
    }
}

/// A machine of 32 MiB with SeaBIOS, changed by `change`.
pub fn machine(kvm: OwnedFd, change: impl FnOnce(&mut MachineConfig)) -> TestMachine {
    try_machine(kvm, change).expect("the machine could not be made")
}

/// Like [`machine`], for machines that may not be possible.
pub fn try_machine(kvm: OwnedFd, change: impl FnOnce(&mut MachineConfig)) -> Result<TestMachine, MachineError> {
    let debug = Output::default();
    let serial = Output::default();
    let image = |name: &str| File::open(format!("/usr/share/seabios/{name}")).expect("the package seabios is missing");
    let mut config = MachineConfig {
        name: "test".to_owned(),
        uuid: Uuid::from_u128(0x1234),
        memory: 32 << 20,
        memory_backing: MemoryBacking::default(),
        vcpus: 1,
        cpu: CpuConfig::default(),
        boot: Boot::Firmware(Firmware { bios: image("bios-256k.bin"), vga_bios: image("vgabios-stdvga.bin") }),
        graphics: Graphics::Vga,
        video_memory: 16 << 20,
        disks: Vec::new(),
        cdroms: Vec::new(),
        peripherals: Peripherals::default(),
        serial: Box::new(serial.clone()),
        debug_log: Box::new(debug.clone()),
        boot_menu: false,
    };
    change(&mut config);
    let (sender, events) = channel();
    let sender = Mutex::new(sender);
    let sink = Arc::new(move |event| drop(sender.lock().unwrap().send(event)));
    let machine = Machine::new(kvm, config, sink)?;
    Ok(TestMachine { machine, debug, serial, events })
}

/// The firmware of a machine that begins with it.
pub fn firmware(config: &mut MachineConfig) -> &mut Firmware {
    match &mut config.boot {
        Boot::Firmware(firmware) => firmware,
        Boot::Linux(_) => panic!("this machine begins with a kernel"),
    }
}
