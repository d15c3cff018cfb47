# Sector 0. Entered by the firmware in real mode at 0x7C00 with the boot drive in DL.

.set KERNEL_CODE, 0x10
.set KERNEL_DATA, 0x18
.set USER_DATA, 0x2b
.set USER_CODE, 0x33
.set TASK, 0x40

.set PAGE_TABLES, 0x10000
.set KERNEL_STACK, 0x70000
.set PROGRAM_STACK, 0x6f000
.set TABLE_FLAGS, 0x07                  # present, writable, user
.set PAGE_FLAGS, 0x87                   # the same, 2 MiB

.text
.code16
.globl start
start:
    cli
    cld
    xor eax, eax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, 0x7c00
    ljmp 0, offset entered
entered:
    mov bl, dl                          # the boot drive
    # The serial port: 115200 8N1, FIFOs on and empty, no interrupts yet. The first byte leaves as early as it can.
    mov si, offset serial_setup
1:  lodsw                               # AL: the register, AH: its value
    mov dx, COM1
    add dl, al
    mov al, ah
    out dx, al
    cmp si, offset serial_setup_end
    jb 1b
    mov si, offset greeting
    call say

    sti
    mov ah, 0x42                        # extended read (EDD 1.1)
    mov dl, bl
    mov si, offset read_packet
    int 0x13
    mov si, offset read_failed
    jc fail

    mov ax, 0x1130                      # the firmware's 8x16 font, for text mode
    mov bh, 6
    int 0x10
    mov ax, es
    shl eax, 4
    movzx ebp, bp
    add eax, ebp
    mov [text_font], eax
    cli

    in al, 0x92                         # A20 on; bit 0 would be a reset
    or al, 2
    and al, 0xfe
    out 0x92, al
    jmp enter_long_mode

# Says the text at SI at the serial port; ends at a zero.
say:
    lodsb
    test al, al
    jz 1f
    mov dx, COM1
    out dx, al
    jmp say
1:  ret

# Says the text at SI at the serial port and on the screen, and stops.
fail:
    push si
    call say
    pop si
1:  lodsb
    test al, al
    jz 2f
    mov ah, 0x0e
    mov bx, 7
    int 0x10
    jmp 1b
2:  cli
    hlt
    jmp 2b

serial_setup:
    .byte 1, 0x00,  3, 0x80,  0, 0x01,  1, 0x00,  3, 0x03,  2, 0x07,  4, 0x0b
serial_setup_end:
greeting:
    .asciz "LODGE TESTCARD 1\r\n"
read_failed:
    .asciz "the test card's disk cannot be read\r\n"

.balign 4
read_packet:
    .byte 16, 0
    .word IMAGE_SECTORS - 1
    .word 0x7e00, 0                     # offset and segment of the buffer
    .quad 1                             # the first sector to read

    .org 510
    .word 0xaa55

# From real to long mode: page tables for 4 GiB in 2 MiB pages, then paging and protection in one step.
enter_long_mode:
    mov ax, PAGE_TABLES >> 4
    mov es, ax
    xor di, di
    xor eax, eax
    mov cx, 0x6000 / 4
    rep stosd
    mov word ptr es:[0], (PAGE_TABLES + 0x1000) & 0xffff | TABLE_FLAGS
    mov byte ptr es:[2], (PAGE_TABLES + 0x1000) >> 16
    mov eax, PAGE_TABLES + 0x2000 + TABLE_FLAGS
    mov di, 0x1000
1:  mov es:[di], eax
    add eax, 0x1000
    add di, 8
    cmp di, 0x1000 + 4 * 8
    jb 1b
    mov eax, PAGE_FLAGS
    mov di, 0x2000
1:  mov es:[di], eax
    add di, 8
    add eax, 0x200000
    jnc 1b

    mov eax, PAGE_TABLES
    mov cr3, eax
    mov eax, 0x20                       # CR4.PAE
    mov cr4, eax
    mov ecx, 0xc0000080                 # EFER.LME
    rdmsr
    or eax, 0x100
    wrmsr
    lgdt [gdt_pointer]
    mov eax, cr0
    and eax, ~0x60000000                # caches on
    or eax, 0x80000001                  # CR0.PG and CR0.PE
    mov cr0, eax
    ljmp KERNEL_CODE, offset kernel_start
