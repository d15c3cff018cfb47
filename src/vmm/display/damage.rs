//! What has changed in video memory: the pages that were written.

#![forbid(unsafe_code)]

use std::ops::Range;

/// The unit of KVM's dirty log, in bytes.
pub const PAGE_SIZE: usize = 4096;
/// A set of pages of video memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirtyPages {
    /// One bit a page, the lowest bit of element 0 first.
    words: Vec<u64>,
    any: bool,
}

impl DirtyPages {
    /// A set for `size` bytes of video memory.
    pub fn new(size: usize) -> Self {
        Self { words: vec![0; size.div_ceil(PAGE_SIZE * 64)], any: false }
    }

    /// Adds the page that holds the byte at `offset`, if there is one.
    pub fn mark(&mut self, offset: usize) {
        let page = offset / PAGE_SIZE;
        if let Some(word) = self.words.get_mut(page / 64) {
            *word |= 1 << (page % 64);
            self.any = true;
        }
    }

    /// Adds the pages that hold the bytes of `range`.
    pub fn mark_range(&mut self, range: Range<usize>) {
        for page in range.start / PAGE_SIZE..range.end.div_ceil(PAGE_SIZE) {
            self.mark(page * PAGE_SIZE);
        }
    }

    /// Whether there are no pages in the set.
    pub fn is_empty(&self) -> bool {
        !self.any
    }

    /// Moves all pages to `other`.
    pub fn drain_into(&mut self, other: &mut Self) {
        if self.any {
            other.fill(|words| {
                words.resize(words.len().max(self.words.len()), 0);
                for (all, new) in words.iter_mut().zip(&mut self.words) {
                    *all |= std::mem::take(new);
                }
            });
            self.any = false;
        }
    }

    /// Lets `fill` add pages to the bitmap.
    pub fn fill(&mut self, fill: impl FnOnce(&mut Vec<u64>)) {
        fill(&mut self.words);
        self.any = self.words.iter().any(|&word| word != 0);
    }

    /// Empties the set.
    pub fn clear(&mut self) {
        if self.any {
            self.words.fill(0);
            self.any = false;
        }
    }

    /// The part of `range` (bytes) from its first to its last page in the set, or `None` when none of its pages is in it.
    pub fn within(&self, range: Range<usize>) -> Option<Range<usize>> {
        if !self.any || range.is_empty() {
            return None;
        }
        let mut pages = range.start / PAGE_SIZE..range.end.div_ceil(PAGE_SIZE);
        let first = pages.find(|&page| self.contains(page))?;
        let last = pages.rfind(|&page| self.contains(page)).unwrap_or(first);
        Some(range.start.max(first * PAGE_SIZE)..range.end.min((last + 1) * PAGE_SIZE))
    }

    fn contains(&self, page: usize) -> bool {
        self.words.get(page / 64).is_some_and(|word| word >> (page % 64) & 1 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_within_a_range() {
        let mut pages = DirtyPages::new(100 * PAGE_SIZE);
        pages.mark(usize::MAX);
        pages.mark(5 * PAGE_SIZE + 17);
        pages.mark_range(70 * PAGE_SIZE..70 * PAGE_SIZE + 1);

        assert_eq!(pages.within(0..5 * PAGE_SIZE), None);
        assert_eq!(pages.within(0..5 * PAGE_SIZE + 1), Some(5 * PAGE_SIZE..5 * PAGE_SIZE + 1));
        assert_eq!(pages.within(5 * PAGE_SIZE + 100..80 * PAGE_SIZE), Some(5 * PAGE_SIZE + 100..71 * PAGE_SIZE));
        assert_eq!(pages.within(6 * PAGE_SIZE..6 * PAGE_SIZE), None);
    }

    #[test]
    fn drained_pages_are_moved() {
        let (mut from, mut to) = (DirtyPages::new(PAGE_SIZE), DirtyPages::new(100 * PAGE_SIZE));
        from.mark(0);
        to.mark(PAGE_SIZE);

        from.drain_into(&mut to);

        assert!(from.is_empty());
        assert_eq!(from.within(0..PAGE_SIZE), None);
        assert_eq!(to.within(0..4 * PAGE_SIZE), Some(0..2 * PAGE_SIZE));
        to.clear();
        assert!(to.is_empty());
    }
}
