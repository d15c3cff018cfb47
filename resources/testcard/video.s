# Display modes: linear ones through the registers of the Bochs VBE interface (ports 0x1CE and 0x1CF), text mode 3 through
# the VGA's own.

.set DISPI_INDEX, 0x1ce
.set DISPI_ID, 0
.set DISPI_WIDTH, 1
.set DISPI_HEIGHT, 2
.set DISPI_DEPTH, 3
.set DISPI_ENABLE, 4
.set DISPI_MEMORY, 10                   # in units of 64 KiB
.set DISPI_LINEAR, 0x41                 # enabled, linear; clears the memory

.set WIDTH_MAX, 2560
.set HEIGHT_MAX, 1600
.set WIDTH_MIN, 320
.set HEIGHT_MIN, 200
.set VGA_CLASS, 0x0300                  # base class and sub-class
.set TEXT_MEMORY, 0xb8000
.set PALETTE_GREY, 216                  # the first grey of the palette for 8-bit modes
.set PALETTE_GREYS, 40

.bss
.balign 8
screen:         .skip 8                 # address of the frame buffer, 0 when there is none
screen_width:   .skip 4
screen_height:  .skip 4
screen_depth:   .skip 4                 # 8, 15, 16, 24 or 32
screen_bytes:   .skip 4                 # a pixel
screen_pitch:   .skip 4                 # bytes a row
screen_mode:    .skip 4                 # which of the modes below the keys are at
video_memory:   .skip 4                 # bytes
card_kind:      .skip 1

.text
.balign 4
text_font:      .skip 4                 # the firmware's 8x16 font, found in real mode
video_modes:                            # what F1 goes through
    .word 800, 600,  1024, 768,  1280, 720,  1280, 1024,  1920, 1080,  640, 480
video_modes_end:
video_depths:                           # what F2 goes through
    .byte 32, 24, 16, 15, 8, 32

# Finds the VGA on PCI bus 0 and its frame buffer, which is behind BAR 0 of every card with the Bochs VBE interface.
video_find:
    mov ebx, 0x80000000
1:  mov edx, 0xcf8
    lea eax, [rbx + 8]
    out dx, eax
    mov edx, 0xcfc
    in eax, dx
    shr eax, 16
    cmp eax, VGA_CLASS
    je 2f
    add ebx, 0x800
    cmp ebx, 0x80000000 + 32 * 0x800
    jb 1b
    ret
2:  mov edx, 0xcf8
    lea eax, [rbx + 0x10]
    out dx, eax
    mov edx, 0xcfc
    in eax, dx
    and eax, ~15
    mov [screen], rax
    mov edi, DISPI_MEMORY
    call dispi_read
    shl eax, 16
    mov [video_memory], eax
    ret

video_default:
    mov edi, 800
    mov esi, 600
    mov edx, 32

# Sets a mode of EDI x ESI pixels of EDX bits. Returns with carry when there is no such mode.
video_set:
    cmp qword ptr [screen], 0
    je video_refused
    cmp edi, WIDTH_MIN
    jb video_refused
    cmp edi, WIDTH_MAX
    ja video_refused
    test edi, 7
    jnz video_refused
    cmp esi, HEIGHT_MIN
    jb video_refused
    cmp esi, HEIGHT_MAX
    ja video_refused
    mov ecx, edx
    mov eax, offset video_depths
1:  cmp cl, [rax]
    je 2f
    inc eax
    cmp eax, offset video_depths + 5
    jb 1b
    jmp video_refused
2:  add ecx, 7
    shr ecx, 3
    mov eax, edi
    imul eax, ecx                       # the pitch
    mov r8d, eax
    imul r8d, esi
    cmp r8d, [video_memory]
    ja video_refused
    mov [screen_pitch], eax
    mov [screen_bytes], ecx
    mov [screen_width], edi
    mov [screen_height], esi
    mov [screen_depth], edx

    mov edi, DISPI_ENABLE
    xor esi, esi
    call dispi_write
    mov edi, DISPI_WIDTH
    mov esi, [screen_width]
    call dispi_write
    mov edi, DISPI_HEIGHT
    mov esi, [screen_height]
    call dispi_write
    mov edi, DISPI_DEPTH
    mov esi, [screen_depth]
    call dispi_write
    mov edi, DISPI_ENABLE
    mov esi, DISPI_LINEAR
    call dispi_write
    mov byte ptr [pointer_shown], 0
    mov eax, [screen_width]
    shr eax, 1
    mov [pointer_x], eax
    mov eax, [screen_height]
    shr eax, 1
    mov [pointer_y], eax
    cmp dword ptr [screen_depth], 8
    jne 3f
    call palette_set
3:  clc
    ret
video_refused:
    stc
    ret

# Reads register EDI into EAX.
dispi_read:
    mov edx, DISPI_INDEX
    mov eax, edi
    out dx, ax
    inc edx
    xor eax, eax
    in ax, dx
    ret

# Writes ESI to register EDI.
dispi_write:
    mov edx, DISPI_INDEX
    mov eax, edi
    out dx, ax
    inc edx
    mov eax, esi
    out dx, ax
    ret

# The palette of 8-bit modes, six bits a colour: a cube of 6 by 6 by 6 colours, then 40 greys.
palette_set:
    mov edx, 0x3c8
    xor eax, eax
    out dx, al
    inc edx
    push rbx
    xor ebx, ebx                        # red; ECX green, EDI blue
1:  xor ecx, ecx
2:  xor edi, edi
3:  mov al, [palette_levels + rbx]
    out dx, al
    mov al, [palette_levels + rcx]
    out dx, al
    mov al, [palette_levels + rdi]
    out dx, al
    inc edi
    cmp edi, 6
    jb 3b
    inc ecx
    cmp ecx, 6
    jb 2b
    inc ebx
    cmp ebx, 6
    jb 1b
    xor ebx, ebx
4:  imul eax, ebx, 63
    xor edx, edx
    mov ecx, PALETTE_GREYS - 1
    div ecx
    mov edx, 0x3c9
    out dx, al
    out dx, al
    out dx, al
    inc ebx
    cmp ebx, PALETTE_GREYS
    jb 4b
    pop rbx
    ret
palette_levels:
    .byte 0, 12, 25, 37, 50, 63

# Text mode 3: 80x25 characters of 9x16 pixels, 16 colours, with the firmware's font; empty.
video_text:
    mov edi, DISPI_ENABLE
    xor esi, esi
    call dispi_write
    mov edx, 0x3c2                      # miscellaneous output: colour, 28 MHz
    mov al, 0x67
    out dx, al
    mov esi, offset text_registers
    call indexed_registers

    mov edx, 0x3da                      # reading it makes 0x3C0 expect an index
    in al, dx
    mov edx, 0x3c0
    xor ecx, ecx
1:  mov eax, ecx
    out dx, al
    mov al, [text_attributes + rcx]
    out dx, al
    inc ecx
    cmp ecx, offset text_attributes_end - text_attributes
    jb 1b
    mov al, 0x20                        # the picture on
    out dx, al

    mov edx, 0x3c8                      # 64 colours: red, green, blue at two thirds and at one third
    xor eax, eax
    out dx, al
    inc edx
    xor ecx, ecx
2:  mov edi, 2
3:  xor eax, eax
    bt ecx, edi
    jnc 4f
    add al, 0x2a
4:  lea esi, [rdi + 3]
    bt ecx, esi
    jnc 5f
    add al, 0x15
5:  out dx, al
    dec edi
    jns 3b
    inc ecx
    cmp ecx, 64
    jb 2b

    mov esi, offset font_registers      # the font: 32 bytes a character in plane 2
    call indexed_registers
    mov esi, [text_font]
    mov edi, 0xa0000
    mov ecx, 256
6:  movsq
    movsq
    add edi, 16
    dec ecx
    jnz 6b
    mov esi, offset text_registers
    call indexed_registers

    mov edi, TEXT_MEMORY
    mov ecx, 80 * 25 / 4
    mov rax, 0x0720072007200720
    rep stosq
    ret

# Writes the tables at RSI: port, first index, number of values, values; port 0 ends them.
indexed_registers:
    movzx edx, word ptr [rsi]
    test edx, edx
    jz 2f
    movzx edi, byte ptr [rsi + 2]
    movzx ecx, byte ptr [rsi + 3]
    add rsi, 4
1:  movzx eax, byte ptr [rsi]
    shl eax, 8
    or eax, edi
    out dx, ax
    inc rsi
    inc edi
    dec ecx
    jnz 1b
    jmp indexed_registers
2:  ret

text_registers:
    .word 0x3c4                         # sequencer
    .byte 0, 5,  0x03, 0x00, 0x03, 0x00, 0x02
    .word 0x3d4                         # CRT controller: first lift the lock of registers 0 to 7
    .byte 0x11, 1,  0x0e
    .word 0x3d4
    .byte 0, 25,  0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f,  0x00, 0x4f, 0x0d, 0x0e, 0x00, 0x00, 0x00, 0x00
    .byte         0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3,  0xff
    .word 0x3ce                         # graphics controller
    .byte 0, 9,  0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff
    .word 0
text_attributes:
    .byte 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07,  0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f
    .byte 0x0c, 0x00, 0x0f, 0x08, 0x00  # blinking, border, planes, panning, colour select
text_attributes_end:
font_registers:
    .word 0x3c4                         # plane 2, not chained, bytes one after the other
    .byte 2, 3,  0x04, 0x00, 0x06
    .word 0x3ce
    .byte 4, 3,  0x02, 0x00, 0x04
    .word 0
