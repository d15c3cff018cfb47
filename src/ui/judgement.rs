//! What is to be said about what was entered for a guest, in a person's language. The rules are the manager's.

use lodge::manager::{
    definition::{Definition, HostLimits, MAX_VCPUS, Problems, Review, Topology},
    media::{Media, MediaError, MediaKind},
};

use crate::ui::{
    i18n::{gettext, gettext_f, ngettext_f},
    widgets::field::Weight,
    wording,
};

/// What a file is and who uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// What it is.
    pub media: Media,
    /// The guests that have it as a disk.
    pub users: Vec<String>,
}

impl Inspected {
    /// What the manager has answered, or why the file is of no use.
    pub fn of(answer: anyhow::Result<(Result<Media, MediaError>, Vec<String>)>) -> Result<Self, String> {
        match answer {
            Ok((Ok(media), users)) => Ok(Self { media, users }),
            Ok((Err(error), _)) => Err(wording::media_error(&error)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What the file is, in a line.
pub fn facts(inspected: &Inspected) -> String {
    let media = &inspected.media;
    let (kind, size) = (wording::media_kind(media.kind), wording::bytes(media.size));
    match &media.label {
        Some(label) if !label.is_empty() => {
            gettext_f("{kind}, {size}, “{label}”", &[("kind", &kind), ("size", &size), ("label", label)])
        }
        _ => gettext_f("{kind}, {size}", &[("kind", &kind), ("size", &size)]),
    }
}

/// What is said of an image that is to be a disk.
pub fn judge_disk(inspected: &Inspected) -> (Weight, String) {
    let note = |weight, text| (weight, text);
    let facts = facts(inspected);
    match inspected.media.kind {
        MediaKind::BootableDisk | MediaKind::Disk | MediaKind::Qcow2 => match inspected.users.first() {
            Some(user) => {
                let warning = gettext_f("“{name}” uses it too: never run both at once.", &[("name", user)]);
                note(Weight::Warning, format!("{facts}\n{warning}"))
            }
            None => note(Weight::Fact, facts),
        },
        MediaKind::Vmdk => {
            let mend = gettext("Make a disk of it first: “Storage” in the main menu, “Import Image…”");
            note(Weight::Wrong, format!("{facts}. {mend}"))
        }
        MediaKind::Vdi | MediaKind::Vhdx => {
            let mend = gettext("Convert it first: qemu-img convert -O qcow2 OLD NEW.qcow2");
            note(Weight::Wrong, format!("{facts}. {mend}"))
        }
        MediaKind::HybridIso
        | MediaKind::BootableIso
        | MediaKind::Iso
        | MediaKind::LinuxKernel
        | MediaKind::Elf
        | MediaKind::InitialRamDisk => {
            let mend = gettext("This is not a disk. Choose a disk image.");
            note(Weight::Wrong, format!("{facts}. {mend}"))
        }
    }
}

/// What the manager has found about `field`, which is named as in the definition's text.
pub fn judge(definition: &Definition, review: &Review, limits: &HostLimits, field: &str) -> Option<(Weight, String)> {
    let note = |problems: &Problems, weight| {
        let message = about(problems, field)?;
        let words = match field {
            "memory" => words_about_memory(definition, limits),
            "vcpus" => words_about_vcpus(definition, limits),
            "cpu.topology" => words_about_topology(definition),
            "kernel.path" if lacks_kernel(definition) => Some(gettext("Choose a file, or drop one here.")),
            _ => None,
        };
        Some((weight, words.unwrap_or_else(|| message.to_owned())))
    };
    note(&review.errors, Weight::Wrong).or_else(|| note(&review.warnings, Weight::Warning))
}

/// Whether a kernel is to be booted directly, and none is chosen.
pub fn lacks_kernel(definition: &Definition) -> bool {
    definition.kernel.as_ref().is_some_and(|kernel| kernel.path.as_os_str().is_empty())
}

/// The first complaint about a field or about a part of it.
fn about<'a>(problems: &'a Problems, field: &str) -> Option<&'a str> {
    let is_part = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
    let mut about = problems.0.iter().filter(|problem| problem.field.strip_prefix(field).is_some_and(is_part));
    about.next().map(|problem| problem.message.as_str())
}

/// Words for the manager's complaint about the memory, if they are known.
fn words_about_memory(definition: &Definition, limits: &HostLimits) -> Option<String> {
    let memory = definition.memory.bytes();
    let amount = wording::bytes(memory);
    let (total, free) = (wording::bytes(limits.memory_total), wording::bytes(limits.memory_available));
    let words = [("amount", amount.as_str()), ("total", &total), ("free", &free)];
    if memory == 0 {
        Some(gettext("A guest needs some memory. Choose at least 1 MiB."))
    } else if memory > 1u64.checked_shl(limits.address_bits).unwrap_or(u64::MAX) {
        Some(gettext_f("The host’s CPU cannot address {amount}. Choose less.", &words))
    } else if memory > limits.memory_total.saturating_mul(4) {
        Some(gettext_f("{amount} is far more than the host’s {total}. Choose less.", &words))
    } else if memory > limits.memory_total {
        Some(gettext_f("{amount} is more than the host’s {total}: the host will swap. Choose less.", &words))
    } else if memory > limits.memory_available {
        Some(gettext_f("Only {free} of the host’s {total} are free now. Stop other guests or choose less.", &words))
    } else {
        None
    }
}

/// Words for the manager's complaint about the vCPUs, if they are known.
fn words_about_vcpus(definition: &Definition, limits: &HostLimits) -> Option<String> {
    if definition.vcpus == 0 {
        Some(gettext("A guest needs a vCPU. Choose at least 1."))
    } else if definition.vcpus > limits.max_vcpus.min(MAX_VCPUS) {
        let most = limits.max_vcpus.min(MAX_VCPUS);
        Some(ngettext_f("A guest can have at most {n} vCPU.", "A guest can have at most {n} vCPUs.", most, &[]))
    } else if definition.vcpus > limits.cpus {
        Some(ngettext_f(
            "The host has {n} CPU: more vCPUs make the guest slower.",
            "The host has {n} CPUs: more vCPUs make the guest slower.",
            limits.cpus,
            &[],
        ))
    } else {
        None
    }
}

/// Words for the manager's complaint about the arrangement of the vCPUs, if they are known.
fn words_about_topology(definition: &Definition) -> Option<String> {
    let topology = definition.cpu.topology?;
    let Topology { sockets, cores, threads } = topology;
    let made = topology.vcpus().filter(|made| *made != definition.vcpus)?;
    let (made, vcpus) = (made.to_string(), definition.vcpus.to_string());
    let numbers = [sockets, cores, threads].map(|number| number.to_string());
    let [sockets, cores, threads] = &numbers;
    Some(gettext_f(
        "{sockets} × {cores} × {threads} make {made} vCPUs, but the guest has {vcpus}. Change one of them.",
        &[("sockets", sockets), ("cores", cores), ("threads", threads), ("made", &made), ("vcpus", &vcpus)],
    ))
}
