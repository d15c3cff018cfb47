//! The thread of one vCPU: a state machine that the machine's driver steers by commands.
//!
//! ```text
//!   start ──▶ Paused ──Resume──▶ Running ──the guest wants something, or KVM cannot go on──▶ Stopped
//!               ▲ ▲──────Pause──────┘ ▲─────────────────────Resume────────────────────────────┘ │
//!               └────────────────────────────────────────────Pause──────────────────────────────┘
//! ```
//!
//! A command to a running vCPU comes with a kick. KVM_RUN then returns EINTR, and only after it has completed the I/O of the
//! last exit: so a vCPU that obeys a command stands at an instruction boundary. One that stops by itself enters once more
//! with `immediate_exit` for the same reason.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, TryRecvError},
    },
};

use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress};

use super::{
    Registers,
    exit::{self, Failure, MAX_INSTRUCTION, Next},
    kick::Kickable,
    report::InternalErrorReport,
    saved::{SavedVcpu, VcpuRestoreError},
    state::VcpuState,
};
use crate::vmm::{
    bus::Bus,
    kvm::{CoalescedWrites, KvmError, refused},
    memory::GuestMemory,
};

/// Who is told of what the guest does to its vCPUs, and says when they must stop.
pub trait Governor: Send + Sync {
    /// Whether the vCPUs must not enter the guest: it has asked for a reset or the like, on which the driver decides.
    fn must_stop(&self) -> bool;

    /// A vCPU had a triple fault.
    fn triple_fault(&self);

    /// A vCPU cannot go on. It is in no guest code from now on.
    fn failed(&self, report: InternalErrorReport);
}

/// What all vCPUs are connected to.
#[derive(Clone)]
pub struct Wiring {
    /// The ports.
    pub ports: Arc<Bus>,
    /// Memory that is not RAM.
    pub memory: Arc<Bus>,
    /// Writes to it that KVM has collected.
    pub coalesced: Arc<CoalescedWrites>,
    /// RAM, to look at a failed instruction.
    pub ram: Arc<GuestMemory>,
    /// Who is told.
    pub governor: Arc<dyn Governor>,
}

/// A command from the driver.
pub enum Command {
    /// Run the guest.
    Resume,
    /// Leave the guest; answer when done.
    Pause(Sender<()>),
    /// Go back to the state at power-on. Only while paused.
    Reset(Sender<Result<(), KvmError>>),
    /// Tell the whole state. Only while paused.
    Save(Sender<Result<SavedVcpu, KvmError>>),
    /// Take over a saved state. Only while paused, before the first time that the vCPU runs.
    Restore(Box<SavedVcpu>, Sender<Result<(), VcpuRestoreError>>),
    /// Tell the registers.
    Registers(Sender<Result<Registers, KvmError>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Out of the guest by command.
    Paused,
    /// In the guest.
    Running,
    /// Out of the guest by itself; the driver decides how it goes on.
    Stopped,
    /// The driver has gone.
    Ended,
}

/// One vCPU in its thread.
pub struct Vcpu {
    // Fixed configuration
    index: u32,
    power_on: VcpuState,
    /// What makes up its state besides registers.
    msrs: Arc<[u32]>,
    // Wiring
    fd: VcpuFd,
    area: Kickable,
    wiring: Wiring,
    commands: Receiver<Command>,
    exits: Arc<AtomicU64>,
}

/// What connects a vCPU with the driver.
pub struct DriverLink {
    /// What it is to do.
    pub commands: Receiver<Command>,
    /// How often KVM_RUN has returned with something to do. The vCPU counts.
    pub exits: Arc<AtomicU64>,
}

/// How KVM_RUN has returned.
enum Return {
    /// With an exit to handle.
    Exit,
    /// With nothing to do.
    Nothing,
    /// By a kick, with all I/O completed.
    Kicked,
    /// With an error.
    Error(io::Error),
}

impl Vcpu {
    /// A vCPU at power-on, in its thread. It runs once [`Vcpu::run`] is called and the driver says so.
    pub fn new(
        index: u32,
        fd: VcpuFd,
        area: Kickable,
        power_on: VcpuState,
        msrs: Arc<[u32]>,
        wiring: Wiring,
        driver: DriverLink,
    ) -> Self {
        let DriverLink { commands, exits } = driver;
        Self { index, power_on, msrs, fd, area, wiring, commands, exits }
    }

    /// The thread's life: until the driver's end of the commands is dropped.
    pub fn run(mut self) {
        let mut state = State::Paused;
        while state != State::Ended {
            state = match state {
                State::Running => self.run_guest(),
                state => match self.commands.recv() {
                    Ok(command) => self.obey(command, state),
                    Err(_) => State::Ended,
                },
            };
        }
    }

    /// Runs the guest until a command or the guest itself ends that.
    fn run_guest(&mut self) -> State {
        loop {
            if self.wiring.governor.must_stop() {
                return self.stop();
            }
            match self.enter() {
                Return::Exit => match self.handle_exit() {
                    Next::Enter => {}
                    Next::TripleFault => self.wiring.governor.triple_fault(),
                    Next::Fail(failure) => return self.fail(failure),
                },
                Return::Kicked => match self.obey_all() {
                    State::Running => {}
                    state => return state,
                },
                Return::Nothing => {}
                Return::Error(error) => return self.fail(Failure::new(format!("KVM refused to run: {error}"))),
            }
        }
    }

    fn enter(&mut self) -> Return {
        let result = self.fd.run();
        // They came before whatever comes now.
        self.wiring.coalesced.deliver();
        match result {
            Ok(_) => {
                // Nobody else writes.
                self.exits.store(self.exits.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
                Return::Exit
            }
            Err(error) => match error.errno() {
                libc::EINTR => Return::Kicked,
                // An application processor that waits for its start was woken by something else.
                libc::EAGAIN => Return::Nothing,
                _ => Return::Error(error.into()),
            },
        }
    }

    fn handle_exit(&mut self) -> Next {
        exit::handle(exit::decode(self.area.bytes()), &self.wiring.ports, &self.wiring.memory)
    }

    /// Obeys the commands that a kick has announced.
    fn obey_all(&mut self) -> State {
        self.area.set_immediate_exit(false);
        let mut state = State::Running;
        loop {
            state = match self.commands.try_recv() {
                Ok(command) => self.obey(command, state),
                Err(TryRecvError::Empty) => return state,
                Err(TryRecvError::Disconnected) => return State::Ended,
            };
        }
    }

    /// Completes the I/O of the last exit and stops.
    fn stop(&mut self) -> State {
        self.area.set_immediate_exit(true);
        // An access of several pieces exits once more for each.
        while let Return::Exit = self.enter() {
            if let Next::Fail(failure) = self.handle_exit() {
                return self.fail(failure);
            }
        }
        self.area.set_immediate_exit(false);
        State::Stopped
    }

    fn fail(&mut self, failure: Failure) -> State {
        let registers = self.registers().ok();
        let mut bytes = failure.bytes;
        if let Some(registers) = registers.filter(|_| bytes.is_empty()) {
            bytes = self.instruction(&registers);
        }
        self.wiring.governor.failed(InternalErrorReport {
            vcpu: self.index,
            suberror: failure.suberror,
            reason: failure.reason,
            rip: registers.map(|registers| registers.rip).unwrap_or_default(),
            bytes,
            registers,
        });
        State::Stopped
    }

    /// The bytes at the instruction pointer, as far as they are in RAM on one page.
    fn instruction(&self, registers: &Registers) -> Vec<u8> {
        let linear = registers.instruction_address();
        let Ok(translation) = self.fd.translate_gva(linear) else { return Vec::new() };
        let mut bytes = vec![0; MAX_INSTRUCTION.min(4096 - (linear % 4096) as usize)];
        let known = translation.valid != 0
            && self.wiring.ram.read_slice(&mut bytes, GuestAddress(translation.physical_address)).is_ok();
        if known { bytes } else { Vec::new() }
    }

    fn registers(&self) -> Result<Registers, KvmError> {
        const DOING: &str = "tell a vCPU's registers";
        let regs = self.fd.get_regs().map_err(refused(DOING))?;
        let sregs = self.fd.get_sregs().map_err(refused(DOING))?;
        Ok(Registers::new(&regs, &sregs))
    }

    /// Obeys a command in `state` and returns the state after it. An asker who has gone misses nothing.
    fn obey(&mut self, command: Command, state: State) -> State {
        match command {
            Command::Resume => State::Running,
            Command::Pause(done) => {
                // Tells the guest's watchdogs that time has jumped; refused by guests without kvmclock.
                let _ = self.fd.kvmclock_ctrl();
                let _ = done.send(());
                State::Paused
            }
            Command::Reset(done) => {
                let _ = done.send(self.power_on.apply(&self.fd));
                state
            }
            Command::Save(answer) => {
                let _ = answer.send(SavedVcpu::take(&self.fd, &self.msrs));
                state
            }
            Command::Restore(saved, done) => {
                let _ = done.send(saved.apply(&self.fd));
                state
            }
            Command::Registers(answer) => {
                let _ = answer.send(self.registers());
                state
            }
        }
    }
}
