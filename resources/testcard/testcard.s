# Lodge's test card: the whole image, in the order in which it lies on the disk and in memory (from 0x7C00).
.intel_syntax noprefix
.include "boot.s"
