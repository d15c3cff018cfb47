//! The host's memory: how much, in huge pages, and shared between guests.

#![forbid(unsafe_code)]

use super::{Finding, Merging, Root, limits::Memory};
use crate::manager::size::{MIB, Size};

/// Below this much available memory even a small guest makes the host swap.
const LEAST_AVAILABLE: u64 = 512 * MIB;

/// How much memory there is.
pub(super) fn check(root: &Root) -> Finding {
    let (id, name) = ("memory", "Memory");
    let memory = Memory::read(root);
    let detail =
        format!("{} of {} are available", Size(memory.available).approximate(), Size(memory.total).approximate());
    if memory.available < LEAST_AVAILABLE {
        return Finding::limited(id, name, detail, "End other programs or guests before you start a guest");
    }
    Finding::fine(id, name, detail)
}

/// Huge pages: transparent ones serve every guest, reserved ones those that ask for them.
pub(super) fn huge_pages(root: &Root) -> Finding {
    let (id, name) = ("huge-pages", "Huge pages");
    let memory = Memory::read(root);
    let text = root.read("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    // The chosen one stands in brackets: "always [madvise] never".
    let chosen = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']')).unwrap_or("none");
    let reserved = match memory.huge_pages {
        0 => String::new(),
        count => {
            let size = Size(memory.huge_page_size);
            format!(", {} of {count} reserved pages of {size} are free", memory.huge_pages_free)
        }
    };
    let detail = format!("transparent: {chosen}{reserved}");
    match chosen {
        "always" | "madvise" => Finding::fine(id, name, detail),
        _ if memory.huge_pages > 0 => Finding::fine(id, name, detail),
        _ => Finding::limited(
            id,
            name,
            detail,
            "Guests with much memory are faster with them: \"echo madvise | sudo tee \
             /sys/kernel/mm/transparent_hugepage/enabled\"",
        ),
    }
}

/// Whether equal pages of several guests can be kept once.
pub(super) fn ksm(root: &Root) -> Finding {
    let (id, name) = ("ksm", "Memory sharing (KSM)");
    let merging = Merging::read(root);
    if !merging.present {
        return Finding::limited(id, name, "this kernel has none", "Nothing needs it unless memory is short");
    }
    if !merging.on {
        let mend = "To keep equal pages of several guests once: \"echo 1 | sudo tee /sys/kernel/mm/ksm/run\"";
        return Finding::limited(id, name, "switched off", mend);
    }
    let saved = Size(merging.saved).approximate();
    Finding::fine(id, name, format!("switched on, saves {saved}"))
}
