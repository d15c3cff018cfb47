//! The CPU's virtualization, and the kernel modules that use it.

#![forbid(unsafe_code)]

use super::{Finding, Root, limits::cpuinfo};

/// The CPU's own virtualization, as its flags tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Virtualization {
    Intel,
    Amd,
    None,
}

impl Virtualization {
    fn of(root: &Root) -> Self {
        let flags = cpuinfo(root, "flags").unwrap_or_default();
        let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
        match (has("vmx"), has("svm")) {
            (true, _) => Self::Intel,
            (_, true) => Self::Amd,
            _ => Self::None,
        }
    }
}

/// The modules that make KVM, and whether the CPU must have virtualization for them.
const MODULES: &[&str] = &["kvm_intel", "kvm_amd", "kvm_pvm"];

fn loaded(root: &Root) -> Option<&'static str> {
    MODULES.iter().copied().find(|module| root.exists(format!("/sys/module/{module}")))
}

/// Whether the CPU can run guests by itself.
pub(super) fn virtualization(root: &Root) -> Finding {
    let (id, name) = ("cpu-virtualization", "CPU virtualization");
    match Virtualization::of(root) {
        Virtualization::Intel => Finding::fine(id, name, "Intel VT-x (flag vmx)"),
        Virtualization::Amd => Finding::fine(id, name, "AMD-V (flag svm)"),
        Virtualization::None if root.exists("/dev/kvm") => Finding::limited(
            id,
            name,
            "the CPU shows neither vmx nor svm, but /dev/kvm is there: guests run in software where they must",
            "Switch on VT-x or AMD-V in the firmware setup of this computer; in a virtual machine, allow nested \
             virtualization on its host",
        ),
        Virtualization::None => Finding::missing(
            id,
            name,
            "the CPU shows neither vmx nor svm",
            "Switch on virtualization (VT-x, AMD-V or SVM) in the firmware setup of this computer; in a virtual machine, \
             allow nested virtualization on its host",
        ),
    }
}

/// Whether the kernel's part of KVM is loaded.
pub(super) fn modules(root: &Root) -> Finding {
    let (id, name) = ("kernel-modules", "Kernel modules");
    if let Some(module) = loaded(root) {
        return Finding::fine(id, name, format!("{module} is loaded"));
    }
    let module = match Virtualization::of(root) {
        Virtualization::Amd => "kvm_amd",
        _ => "kvm_intel",
    };
    if root.exists("/dev/kvm") {
        return Finding::fine(id, name, "KVM is built into the kernel");
    }
    let detail = "no module of KVM is loaded";
    Finding::missing(id, name, detail, format!("Load it (\"sudo modprobe {module}\"), or install a kernel that has it"))
}

/// Whether guests can run guests of their own.
pub(super) fn nested(root: &Root) -> Finding {
    let (id, name) = ("nested", "Nested virtualization");
    let Some(module) = loaded(root).filter(|module| *module != "kvm_pvm") else {
        return Finding::limited(
            id,
            name,
            "this host's KVM cannot do it",
            "Nothing needs it unless guests are to run guests of their own",
        );
    };
    match root.read(format!("/sys/module/{module}/parameters/nested")).as_deref() {
        Ok("Y" | "1") => {
            Finding::fine(id, name, "guests can run guests of their own, where their definition asks for it")
        }
        _ => Finding::limited(
            id,
            name,
            "switched off",
            format!("If guests are to run guests: \"options {module} nested=1\" in /etc/modprobe.d, then restart"),
        ),
    }
}
