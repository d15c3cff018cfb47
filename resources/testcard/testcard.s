# Lodge's test card: a small guest without an operating system. It shows a picture that tells at a glance whether the
# screen is right, echoes keys and the pointer, counts seconds, and does what the serial port tells it. The protocol is
# described in src/manager/testcard.rs.
#
# The image is linked at 0x7C00, where the firmware loads sector 0; sector 0 loads the rest right behind itself, so that
# the disk's bytes and the memory's are the same. What it needs beyond that:
#
#   0x10000  page tables (6 pages): the first 4 GiB at their own addresses, for ring 0 and ring 3
#   0x20000  variables that start as zero (.bss)
#   0x6f000  top of the program's stack        0x70000  top of the kernel's stack
#
# Two rings: a kernel of some hundred instructions in ring 0 takes interrupts into a queue and halts the processor; the
# program itself runs in ring 3 with IOPL 3, so that it may use ports. A host whose KVM has to emulate ring 0 still runs
# ring 3 at the processor's own speed, which makes drawing a matter of milliseconds everywhere. There is no SSE, no x87
# and no software interrupt in it, for the same reason.

.intel_syntax noprefix

.bss
bss_start:

.include "constants.s"
.include "boot.s"           # sector 0, and the way from real to long mode
.include "kernel.s"         # ring 0: descriptor tables, interrupts, services
.code64
.include "program.s"        # ring 3: the start, the loop over events
.include "serial.s"         # COM1: characters, lines, numbers
.include "video.s"          # display modes, palette, text mode
.include "draw.s"           # pixels, rectangles, text
.include "card.s"           # the picture
.include "fields.s"         # its live parts
.include "textcard.s"       # the picture in text mode
.include "input.s"          # keyboard and mouse
.include "storm.s"          # moving pictures for benchmarks
.include "commands.s"       # what the serial port may ask for

.text
image_end:
.set IMAGE_SECTORS, (image_end - start + 511) / 512

.bss
bss_end:
