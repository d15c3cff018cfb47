# Sector 0: loaded by the firmware to 0x7C00 and entered in real mode.
.code16
.globl start
start:
    cli
    mov dx, 0x3f8
    mov al, '!'
    out dx, al
1:  hlt
    jmp 1b

    .org 510
    .word 0xaa55
