//! Quicker byte loops for SeaBIOS.
//!
//! Distributions build SeaBIOS for size: its `memset` and its `checksum` take a byte at a time, five instructions each, and
//! a start spends three quarters of its instructions in them (before it boots it clears 560 KiB of RAM alone). A processor
//! does that in a millisecond; where KVM emulates ring 0, because the host itself has no virtualization extensions, it is
//! two of the three seconds that a guest needs to its boot sector. So where the two loops are recognised, a jump leads from
//! them to routines that do the same with fewer instructions, in the empty space at the image's beginning. An image that is
//! not recognised stays as it is.

#![forbid(unsafe_code)]

use std::ops::Range;

/// What the image's end is mapped to: 4 GiB, where 32-bit addresses begin again.
const END: u32 = 0;
/// The image's last 128 KiB run from their copy here.
const SHADOW: u32 = 0xe_0000;
const SHADOW_SIZE: usize = 0x2_0000;
/// Where the routines are put in the image.
const SPACE: Range<usize> = 0x10..0x80;

/// A routine of SeaBIOS's, and what stands in for it. Both take their arguments in EAX, EDX and ECX, in this order, and change
/// no register that the other does not: the compiler knows what the original changes, and relies on it.
struct Routine {
    original: &'static [u8],
    replacement: &'static [u8],
}

/// `memset`: EAX the address, DL the byte, ECX the length. Returns the address. Changes ECX.
const MEMSET: Routine = Routine {
    original: &[
        0x85, 0xc9, // 1: test ecx, ecx
        0x74, 0x06, // jz 2f
        0x49, // dec ecx
        0x88, 0x14, 0x08, // mov [eax + ecx], dl
        0xeb, 0xf6, // jmp 1b
        0xc3, // 2: ret
    ],
    replacement: &[
        0x57, // push edi
        0x52, // push edx
        0x50, // push eax
        0x89, 0xc7, // mov edi, eax
        0x0f, 0xb6, 0xc2, // movzx eax, dl
        0x69, 0xc0, 0x01, 0x01, 0x01, 0x01, // imul eax, eax, 0x01010101
        0x89, 0xca, // mov edx, ecx
        0xc1, 0xe9, 0x02, // shr ecx, 2
        0xf3, 0xab, // rep stosd
        0x89, 0xd1, // mov ecx, edx
        0x83, 0xe1, 0x03, // and ecx, 3
        0xf3, 0xaa, // rep stosb
        0x58, // pop eax
        0x5a, // pop edx
        0x5f, // pop edi
        0xc3, // ret
    ],
};

/// `checksum`: EAX the address, EDX the length. Returns the sum of the bytes in AL. Changes EAX, ECX, EDX.
const CHECKSUM: Routine = Routine {
    original: &[
        0x01, 0xc2, // add edx, eax
        0x31, 0xc9, // xor ecx, ecx
        0x39, 0xd0, // 1: cmp eax, edx
        0x74, 0x05, // je 2f
        0x02, 0x08, // add cl, [eax]
        0x40, // inc eax
        0xeb, 0xf7, // jmp 1b
        0x88, 0xc8, // 2: mov al, cl
        0xc3, // ret
    ],
    replacement: &[
        0x31, 0xc9, // xor ecx, ecx
        0x83, 0xfa, 0x08, // 1: cmp edx, 8
        0x72, 0x1f, // jb 2f
        0x02, 0x08, // add cl, [eax]
        0x02, 0x48, 0x01, // add cl, [eax + 1]
        0x02, 0x48, 0x02, // add cl, [eax + 2]
        0x02, 0x48, 0x03, // add cl, [eax + 3]
        0x02, 0x48, 0x04, // add cl, [eax + 4]
        0x02, 0x48, 0x05, // add cl, [eax + 5]
        0x02, 0x48, 0x06, // add cl, [eax + 6]
        0x02, 0x48, 0x07, // add cl, [eax + 7]
        0x83, 0xc0, 0x08, // add eax, 8
        0x83, 0xea, 0x08, // sub edx, 8
        0xeb, 0xdc, // jmp 1b
        0x85, 0xd2, // 2: test edx, edx
        0x74, 0x06, // jz 3f
        0x02, 0x08, // add cl, [eax]
        0x40, // inc eax
        0x4a, // dec edx
        0xeb, 0xf6, // jmp 2b
        0x88, 0xc8, // 3: mov al, cl
        0xc3, // ret
    ],
};

/// Leads the loops of a BIOS image to quicker ones. Returns how many were recognised.
pub fn quicken(image: &mut [u8]) -> usize {
    let Some(shadow) = image.len().checked_sub(SHADOW_SIZE) else { return 0 };
    let mut free = SPACE.start;
    let mut done = 0;
    for routine in [MEMSET, CHECKSUM] {
        let space = free..free + routine.replacement.len();
        // In an image without padding, or with one routine more than once, nothing is certain.
        let empty = space.end <= SPACE.end.min(shadow) && image[space.clone()].iter().all(|byte| *byte == 0);
        let Some(at) = only(&image[shadow..], routine.original).filter(|_| empty) else { continue };
        let original = SHADOW.wrapping_add(at as u32);
        let replacement = END.wrapping_sub((image.len() - space.start) as u32);
        let jump = jump(original, replacement);
        image[shadow + at..][..jump.len()].copy_from_slice(&jump);
        free = space.end;
        image[space].copy_from_slice(routine.replacement);
        done += 1;
    }
    done
}

/// Where `wanted` is in `image`, if it is there exactly once.
fn only(image: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut places = image.windows(wanted.len()).enumerate().filter(|(_, bytes)| *bytes == wanted).map(|(at, _)| at);
    places.next().filter(|_| places.next().is_none())
}

/// `jmp`, at address `from`, to address `to`, which is relative to the instruction's end.
fn jump(from: u32, to: u32) -> [u8; 5] {
    let [a, b, c, d] = to.wrapping_sub(from.wrapping_add(5)).to_le_bytes();
    [0xe9, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 256 << 10;
    /// Where the tests put the routines: 0xEA000 and 0xEB000 in the shadow.
    const MEMSET_AT: usize = SIZE - SHADOW_SIZE + 0xa000;
    const CHECKSUM_AT: usize = SIZE - SHADOW_SIZE + 0xb000;

    fn image() -> Vec<u8> {
        let mut image = vec![0; SIZE];
        image[MEMSET_AT..][..MEMSET.original.len()].copy_from_slice(MEMSET.original);
        image[CHECKSUM_AT..][..CHECKSUM.original.len()].copy_from_slice(CHECKSUM.original);
        image
    }

    /// Where in the image the jump at `at`, which runs at `address`, leads.
    fn target(image: &[u8], at: usize, address: u32) -> usize {
        assert_eq!(image[at], 0xe9);
        let distance = u32::from_le_bytes(image[at + 1..at + 5].try_into().unwrap());
        let target = address.wrapping_add(5).wrapping_add(distance);
        SIZE - target.wrapping_neg() as usize
    }

    #[test]
    fn both_loops_lead_to_their_replacements() {
        let mut image = image();

        assert_eq!(quicken(&mut image), 2);

        let memset = target(&image, MEMSET_AT, 0xe_a000);
        assert!(image[memset..].starts_with(MEMSET.replacement));
        let checksum = target(&image, CHECKSUM_AT, 0xe_b000);
        assert!(image[checksum..].starts_with(CHECKSUM.replacement));
    }

    #[test]
    fn an_image_without_the_loops_stays_as_it_is() {
        let mut image: Vec<u8> = (0..SIZE).map(|at| at as u8).collect();
        let before = image.clone();

        assert_eq!(quicken(&mut image), 0);

        assert_eq!(image, before);
    }

    #[test]
    fn what_is_not_unique_is_left_alone() {
        let mut image = image();
        image.copy_within(MEMSET_AT..MEMSET_AT + MEMSET.original.len(), MEMSET_AT + 0x100);

        assert_eq!(quicken(&mut image), 1);

        assert!(image[MEMSET_AT..].starts_with(MEMSET.original));
    }

    #[test]
    fn an_image_without_space_stays_as_it_is() {
        let mut image = image();
        image[SPACE].fill(0x90);
        let before = image.clone();

        assert_eq!(quicken(&mut image), 0);

        assert_eq!(image, before);
    }

    #[test]
    fn an_image_that_is_all_shadow_has_no_space() {
        let mut image = image().split_off(SIZE - SHADOW_SIZE);

        assert_eq!(quicken(&mut image), 0);
    }
}
