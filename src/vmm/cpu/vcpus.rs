//! All vCPUs of a machine: made, started, stopped and asked together.

use std::{
    arch::x86_64::__cpuid,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Sender, channel},
    },
    thread::{self, JoinHandle},
};

use kvm_bindings::{CpuId, Msrs, kvm_msr_entry};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::{
    CpuConfig, CpuConfigError, CpuPlace, Registers, Topology, Wiring, cpuid, features,
    kick::{self, Kickable, kick},
    run_area::RunArea,
    saved::{SavedVcpu, VcpuRestoreError},
    state::{VcpuState, msr_numbers},
    thread::{Command, DriverLink, Vcpu},
};
use crate::vmm::{
    boot::linux::CpuEntry,
    kvm::{KvmError, Vm, refused},
};

/// The stack of a vCPU's thread in bytes: devices work on it.
const STACK: usize = 256 << 10;

/// The revision of the microcode.
const MSR_MICROCODE: u32 = 0x8b;
const MSR_MISC_ENABLE: u32 = 0x1a0;
/// Fast string instructions: on after a reset of a real CPU, and kernels believe it.
const FAST_STRINGS: u64 = 1;

/// Why a machine's vCPUs could not be made.
#[derive(Debug, thiserror::Error)]
pub enum VcpusError {
    /// KVM cannot have so many.
    #[error("{count} vCPUs are more than the {most} that the host's KVM gives a guest. give it {most} or fewer")]
    TooMany {
        /// How many were asked for.
        count: u32,
        /// The most there can be.
        most: u32,
    },
    /// The configuration asks for something impossible.
    #[error(transparent)]
    Config(#[from] CpuConfigError),
    /// The host's KVM does not let guests run virtual machines.
    #[error(
        "the host's KVM does not let its guests run virtual machines themselves. load kvm_intel or kvm_amd with \
         nested=1, or switch nested off"
    )]
    Nested,
    /// The host's CPU tells more than KVM takes.
    #[error("the host's CPU has more CPUID leaves than KVM takes. update the host's kernel")]
    Leaves,
    /// A vCPU cannot run where it is to run.
    #[error("vCPU {index} cannot run on the host's CPUs {host_cpus:?}: {reason}. pin it to CPUs that lodge may use")]
    Pinning {
        /// The vCPU.
        index: u32,
        /// Where it was to run.
        host_cpus: Vec<u32>,
        /// The kernel's answer.
        reason: io::Error,
    },
    /// KVM has refused something.
    #[error(transparent)]
    Kvm(#[from] KvmError),
}

/// How one vCPU begins.
struct Plan<'a> {
    index: u32,
    entry: Option<CpuEntry>,
    apic_id: u32,
    /// Where it may run; empty for anywhere.
    host_cpus: &'a [u32],
}

/// A vCPU, as QMP's `query-cpus-fast` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VcpuInfo {
    /// Its index, from 0.
    pub index: u32,
    /// The ID of the thread that runs it.
    pub thread_id: i32,
    /// Where it is.
    pub place: CpuPlace,
    /// How often the guest has left it with something for the worker to do.
    pub exits: u64,
}

/// The vCPUs of a machine. Dropping them ends their threads.
pub struct Vcpus {
    topology: Topology,
    handles: Vec<Handle>,
}

struct Handle {
    thread: JoinHandle<()>,
    thread_id: i32,
    commands: Sender<Command>,
    exits: Arc<AtomicU64>,
}

impl Vcpus {
    /// Makes `count` vCPUs at power-on, paused. The first one is the boot processor and begins at `entry`, or at the reset
    /// vector; the others wait for it to start them.
    pub fn new(
        vm: &Vm,
        count: u32,
        config: &CpuConfig,
        entry: Option<CpuEntry>,
        wiring: &Wiring,
    ) -> Result<Self, VcpusError> {
        config.check(count)?;
        let most = u32::try_from(vm.system.get_max_vcpus()).unwrap_or(u32::MAX);
        let recommended = vm.system.get_nr_vcpus();
        if count > most {
            return Err(VcpusError::TooMany { count, most });
        }
        if count as usize > recommended {
            tracing::warn!(count, recommended, "the guest has more vCPUs than KVM recommends on this host");
        }
        kick::install_handler().map_err(refused("handle a signal"))?;
        let mut supported = vm.supported_cpuid()?;
        cpuid::name_processor(&mut supported, __cpuid);
        cpuid::remove_dead_calls(&mut supported, __cpuid);
        if config.nested && !features::virtualizes(&supported) {
            return Err(VcpusError::Nested);
        }
        let (topology, removed) = (config.topology(count), config.removed_features()?);
        let msrs: Arc<[u32]> = msr_numbers(&vm.system)?.into();
        let mut vcpus = Self { topology, handles: Vec::with_capacity(count as usize) };
        for index in 0..count {
            let cpuid = cpuid::of_vcpu(&supported, index, &topology, &removed).ok_or(VcpusError::Leaves)?;
            let plan = Plan {
                index,
                entry: entry.filter(|_| index == 0),
                apic_id: topology.apic_id(index),
                host_cpus: config.pinning.get(index as usize).map(Vec::as_slice).unwrap_or_default(),
            };
            vcpus.handles.push(Handle::start(vm, plan, &cpuid, &msrs, wiring.clone())?);
        }
        Ok(vcpus)
    }

    /// Lets all run.
    pub fn resume(&self) {
        for vcpu in &self.handles {
            vcpu.command(Command::Resume);
        }
    }

    /// Stops all and returns when they have left the guest.
    pub fn pause(&self) {
        self.ask_all(Command::Pause);
    }

    /// Puts all into their state at power-on. They must be paused.
    pub fn reset(&self) -> Result<(), KvmError> {
        self.ask_all(Command::Reset).into_iter().collect()
    }

    /// The states of all, in their order. They must be paused.
    pub fn save(&self) -> Result<Vec<SavedVcpu>, KvmError> {
        self.ask_all(Command::Save).into_iter().collect()
    }

    /// Puts all into saved states. They must be paused, and none of them has run yet. On an error some have the new state.
    pub fn restore(&self, states: Vec<SavedVcpu>) -> Result<(), VcpuRestoreError> {
        if states.len() != self.handles.len() {
            return Err(VcpuRestoreError::Count { saved: states.len(), here: self.handles.len() });
        }
        let restore = |state, done| Command::Restore(Box::new(state), done);
        self.ask_each(states, restore).into_iter().collect()
    }

    /// Sends all a command, then waits for all answers.
    fn ask_all<T>(&self, command: impl Fn(Sender<T>) -> Command) -> Vec<T> {
        self.ask_each(self.handles.iter().map(drop), |(), sender| command(sender))
    }

    /// Sends each a command about one of `things`, then waits for all answers.
    fn ask_each<A, T>(&self, things: impl IntoIterator<Item = A>, command: impl Fn(A, Sender<T>) -> Command) -> Vec<T> {
        let send = |(vcpu, thing): (&Handle, A)| {
            let (sender, answer) = channel();
            vcpu.command(command(thing, sender));
            answer
        };
        let answers: Vec<_> = self.handles.iter().zip(things).map(send).collect();
        // A vCPU's thread ends with the machine only; were it to panic, the worker would be gone with it.
        answers.into_iter().filter_map(|answer| answer.recv().ok()).collect()
    }

    /// The registers of vCPU `index`; `None` when there is no such vCPU.
    pub fn registers(&self, index: u32) -> Option<Result<Registers, KvmError>> {
        let (sender, answer) = channel();
        self.handles.get(index as usize)?.command(Command::Registers(sender));
        answer.recv().ok()
    }

    /// The vCPUs.
    pub fn info(&self) -> Vec<VcpuInfo> {
        let info = |(index, vcpu): (u32, &Handle)| VcpuInfo {
            index,
            thread_id: vcpu.thread_id,
            place: self.topology.place(index),
            exits: vcpu.exits.load(Ordering::Relaxed),
        };
        (0..).zip(&self.handles).map(info).collect()
    }
}

impl Drop for Vcpus {
    fn drop(&mut self) {
        // All are told before any is waited for.
        let threads: Vec<_> = self
            .handles
            .drain(..)
            .map(|Handle { thread, commands, .. }| {
                drop(commands);
                kick(&thread);
                thread
            })
            .collect();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a vCPU's thread has panicked");
            }
        }
    }
}

impl Handle {
    /// Makes a vCPU and starts its thread.
    fn start(vm: &Vm, plan: Plan, cpuid: &CpuId, msrs: &Arc<[u32]>, wiring: Wiring) -> Result<Self, VcpusError> {
        const START: &str = "start a vCPU's thread";
        let index = plan.index;
        // KVM's ID of a vCPU is its APIC's.
        let fd = vm.fd.create_vcpu(plan.apic_id.into()).map_err(refused("make a vCPU"))?;
        fd.set_cpuid2(cpuid).map_err(refused("set a vCPU's CPUID"))?;
        enable_fast_strings(&fd)?;
        tell_microcode(vm, &fd);
        if let Some(entry) = plan.entry {
            enter(&fd, &entry)?;
        }
        let power_on = VcpuState::at_power_on(&fd, msrs)?;
        let msrs = msrs.clone();
        let size = vm.system.get_vcpu_mmap_size().map_err(refused("tell the size of a vCPU's run area"))?;
        let area = RunArea::new(&fd, size).map_err(refused("share a vCPU's run area"))?;

        wiring.coalesced.find_ring(&fd).map_err(refused("share the ring of collected writes"))?;

        let (commands, receiver) = channel();
        let (started, start) = channel::<Result<i32, VcpusError>>();
        let host_cpus = plan.host_cpus.to_vec();
        let exits = Arc::new(AtomicU64::new(0));
        let driver = DriverLink { commands: receiver, exits: Arc::clone(&exits) };
        let run = move || {
            let prepare = || -> Result<Kickable, VcpusError> {
                pin(&host_cpus).map_err(|reason| VcpusError::Pinning { index, host_cpus, reason })?;
                Ok(Kickable::new(area).map_err(refused(START))?)
            };
            let area = match prepare() {
                Ok(area) => area,
                Err(error) => return drop(started.send(Err(error))),
            };
            let _ = started.send(Ok(rustix::thread::gettid().as_raw_nonzero().get()));
            Vcpu::new(index, fd, area, power_on, msrs, wiring, driver).run();
        };
        let thread = thread::Builder::new().name(format!("vcpu{index}")).stack_size(STACK).spawn(run);
        let thread = thread.map_err(refused(START))?;
        let ended = |_| Err(refused(START)(io::Error::from(io::ErrorKind::BrokenPipe)).into());
        let thread_id = start.recv().unwrap_or_else(ended)?;
        Ok(Self { thread, thread_id, commands, exits })
    }

    fn command(&self, command: Command) {
        // It fails only when the thread has ended, which it does with the machine.
        let _ = self.commands.send(command);
        kick(&self.thread);
    }
}

/// Puts a new vCPU where a kernel begins.
fn enter(fd: &kvm_ioctls::VcpuFd, entry: &CpuEntry) -> Result<(), KvmError> {
    const DOING: &str = "put a vCPU to the kernel's entry";
    let power_on = fd.get_sregs().map_err(refused(DOING))?;
    fd.set_sregs(&entry.special_registers(&power_on)).map_err(refused(DOING))?;
    fd.set_regs(&entry.registers()).map_err(refused(DOING))
}

/// Has this thread run on these CPUs of the host only; on any when there are none.
fn pin(host_cpus: &[u32]) -> io::Result<()> {
    if host_cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for &cpu in host_cpus {
        let cpu = usize::try_from(cpu).ok().filter(|&cpu| cpu < CpuSet::MAX_CPU).ok_or(io::ErrorKind::InvalidInput)?;
        set.set(cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Gives a vCPU the host's revision of microcode, by which kernels know the processor's errors.
fn tell_microcode(vm: &Vm, fd: &kvm_ioctls::VcpuFd) {
    let entry = kvm_msr_entry { index: MSR_MICROCODE, ..Default::default() };
    let mut msrs = Msrs::from_entries(&[entry]).expect("one entry is within the limit");
    let told = vm.system.get_msrs(&mut msrs).and_then(|known| if known == 1 { fd.set_msrs(&msrs) } else { Ok(0) });
    if !matches!(told, Ok(1)) {
        tracing::debug!(?told, "the guest does not see the revision of the microcode");
    }
}

fn enable_fast_strings(fd: &kvm_ioctls::VcpuFd) -> Result<(), KvmError> {
    const DOING: &str = "enable a vCPU's fast string instructions";
    let entry = kvm_msr_entry { index: MSR_MISC_ENABLE, ..Default::default() };
    let mut msrs = Msrs::from_entries(&[entry]).expect("one entry is within the limit");
    fd.get_msrs(&mut msrs).map_err(refused(DOING))?;
    msrs.as_mut_slice()[0].data |= FAST_STRINGS;
    fd.set_msrs(&msrs).map_err(refused(DOING))?;
    Ok(())
}
