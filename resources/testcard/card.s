# The picture: a frame and a grid that show the screen's edges and shape, and a circle of bands: name, mode, colour bars,
# grey steps, red, green and blue ramps, what is typed, where the pointer is, the time since the start.
#
# Lengths are in hundredths of the grid's unit, from the centre, so that the picture fits every mode.

.set RADIUS, 700
.set BARS_WIDTH, 1280                   # the eight bars; the outer ones reach on to the circle
.set RAMP_STEPS, 128
.set RAMP_BYTES, RAMP_STEPS * 4

.bss
.balign 4
unit:           .skip 4                 # pixels between two lines of the grid
line_width:     .skip 4
centre_x:       .skip 4
centre_y:       .skip 4
ramp:           .skip RAMP_BYTES

.text
bars:
    .long 0xffffff, 0xffff00, 0x00ffff, 0x00ff00, 0xff00ff, 0xff0000, 0x0000ff, 0x000000
greys:
    .long 0x000000, 0x1a1a1a, 0x333333, 0x4d4d4d, 0x666666, 0x808080
    .long 0x999999, 0xb3b3b3, 0xcccccc, 0xe6e6e6, 0xffffff
.set GREYS, 11
colour_ink:     .long INK
colour_accent:  .long ACCENT

# From, to, number of colours, colours.
.balign 8
bands:
    .quad -700, -420, 1, colour_ink
    .quad -420, -280, 1, colour_accent
    .quad -280,   70, 8, bars
    .quad  70,  160, GREYS, greys
bands_end:

# Draws the whole card in the mode that is set.
card_draw:
    push rbx
    push rbp
    push r12
    mov byte ptr [card_kind], CARD_GRAPHICS
    mov dword ptr [storm_kind], STORM_NONE
    mov byte ptr [pointer_shown], 0
    call card_measure
    call card_frame
    call card_grid
    call card_disc

    mov ebx, offset bands
1:  mov edi, [rbx]
    mov esi, [rbx + 8]
    mov edx, [rbx + 16]
    mov rcx, [rbx + 24]
    call card_band
    add ebx, 32
    cmp ebx, offset bands_end
    jb 1b

    mov ebp, 0x020000                   # the ramps: red, green, blue
    mov ebx, 160
2:  mov edi, ebp
    call card_ramp
    mov edi, ebx
    add ebx, 40
    mov esi, ebx
    mov edx, RAMP_STEPS
    mov ecx, offset ramp
    call card_band
    shr ebp, 8
    jnz 2b

    mov edi, 280
    mov esi, RADIUS
    mov edx, 1
    mov ecx, offset colour_ink
    call card_band

    call card_mode
    call card_typed
    call card_pointer
    call card_clock
    call card_help
    call pointer_show
    pop r12
    pop rbp
    pop rbx
    ret

# The unit: so large that 20 by 15 of them fit.
card_measure:
    xor edx, edx
    mov eax, [screen_width]
    mov ecx, eax
    shr ecx, 1
    mov [centre_x], ecx
    mov ecx, 20
    div ecx
    mov esi, eax
    xor edx, edx
    mov eax, [screen_height]
    mov ecx, eax
    shr ecx, 1
    mov [centre_y], ecx
    mov ecx, 15
    div ecx
    cmp eax, esi
    cmova eax, esi
    mov [unit], eax
    mov esi, eax
    xor edx, edx
    mov ecx, 24
    div ecx
    mov edi, 1
    cmp eax, edi
    cmovb eax, edi
    mov [line_width], eax
    lea eax, [rsi + 10]
    xor edx, edx
    mov ecx, 20
    div ecx
    cmp eax, edi
    cmovb eax, edi
    mov [text_scale], eax
    ret

# EDI hundredths of a unit in pixels, in EAX. Changes RCX, RDX.
pixels:
    mov eax, edi
    imul eax, [unit]
    cdq
    mov ecx, 100
    idiv ecx
    ret

# The frame: blocks of black and white along the edges, so that a missing row or column is seen.
card_frame:
    push rbx
    push rbp
    push r12
    mov ebp, [unit]
    mov r12d, ebp
    shr r12d, 1
    mov edi, 0                          # top and bottom: whole columns
    mov esi, 0
    mov edx, [screen_width]
    mov ecx, [screen_height]
    mov r8d, WHITE
    call draw_rect
    mov edi, [centre_x]
    call card_phase
    mov ebx, eax
1:  mov edi, ebx
    xor esi, esi
    mov edx, ebp
    mov ecx, [screen_height]
    mov r8d, INK
    call draw_rect
    lea ebx, [rbx + rbp * 2]
    cmp ebx, [screen_width]
    jl 1b

    xor edi, edi                        # left and right: whole rows between them
    mov esi, r12d
    mov edx, [screen_width]
    mov ecx, [screen_height]
    sub ecx, ebp
    mov r8d, WHITE
    call draw_rect
    mov edi, [centre_y]
    call card_phase
    mov ebx, eax
2:  mov esi, ebx
    mov ecx, ebp
    cmp esi, r12d
    jge 3f
    add ecx, esi
    sub ecx, r12d
    mov esi, r12d
3:  mov eax, [screen_height]
    sub eax, r12d
    sub eax, esi
    cmp ecx, eax
    cmovg ecx, eax
    xor edi, edi
    mov edx, [screen_width]
    mov r8d, INK
    call draw_rect
    lea ebx, [rbx + rbp * 2]
    cmp ebx, [screen_height]
    jl 2b

    mov edi, r12d
    mov esi, r12d
    mov edx, [screen_width]
    sub edx, ebp
    mov ecx, [screen_height]
    sub ecx, ebp
    mov r8d, PAPER
    call draw_rect
    pop r12
    pop rbp
    pop rbx
    ret

# Where, at or before 0, a pattern of two units that has an edge at EDI begins; in EAX.
card_phase:
    mov ecx, [unit]
    add ecx, ecx
    mov eax, edi
    xor edx, edx
    div ecx
    mov eax, edx
    sub eax, ecx
    ret

# The grid: a line a unit, with one crossing at the centre.
card_grid:
    push rbx
    push rbp
    push r12
    mov ebp, [unit]
    mov r12d, ebp
    shr r12d, 1
    mov edi, [centre_x]
    call card_phase
    mov ebx, eax
1:  add ebx, ebp
    cmp ebx, r12d
    jle 1b
    mov eax, [screen_width]
    sub eax, r12d
    cmp ebx, eax
    jge 2f
    mov edi, ebx
    mov esi, r12d
    mov edx, [line_width]
    mov ecx, [screen_height]
    sub ecx, ebp
    mov r8d, LINES
    call draw_rect
    jmp 1b
2:  mov edi, [centre_y]
    call card_phase
    mov ebx, eax
3:  add ebx, ebp
    cmp ebx, r12d
    jle 3b
    mov eax, [screen_height]
    sub eax, r12d
    cmp ebx, eax
    jge 4f
    mov edi, r12d
    mov esi, ebx
    mov edx, [screen_width]
    sub edx, ebp
    mov ecx, [line_width]
    mov r8d, LINES
    call draw_rect
    jmp 3b
4:  pop r12
    pop rbp
    pop rbx
    ret

# Half the width of a disc of radius EDI in the row ESI from its centre, in EAX.
half_width:
    mov eax, edi
    imul edi, edi
    imul esi, esi
    sub edi, esi
    js 2f
1:  mov edx, eax
    imul edx, edx
    cmp edx, edi
    jbe 3f
    dec eax
    jmp 1b
2:  xor eax, eax
3:  ret

# The disc's white rim.
card_disc:
    push rbx
    push rbp
    mov edi, RADIUS
    call pixels
    mov ebp, eax
    mov eax, [line_width]
    lea ebp, [rbp + rax * 2]
    mov ebx, ebp
    neg ebx
1:  mov edi, ebp
    mov esi, ebx
    call half_width
    mov edi, [centre_x]
    sub edi, eax
    lea edx, [rax * 2 + 1]
    mov esi, [centre_y]
    add esi, ebx
    mov ecx, 1
    mov r8d, WHITE
    call draw_rect
    inc ebx
    cmp ebx, ebp
    jle 1b
    pop rbp
    pop rbx
    ret

# A band of the disc from EDI to ESI: EDX colours from RCX, side by side.
card_band:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    sub rsp, 24
    mov r14d, edx                       # colours
    mov r15, rcx
    call pixels
    mov ebx, eax                        # row, from the centre
    mov edi, esi
    call pixels
    mov [rsp], eax                      # its end
    mov edi, RADIUS
    call pixels
    mov [rsp + 4], eax                  # radius
    mov edi, BARS_WIDTH
    call pixels
    mov [rsp + 8], eax                  # width of the colours together
1:  cmp ebx, [rsp]
    jge 4f
    mov edi, [rsp + 4]
    mov esi, ebx
    call half_width
    mov r12d, [centre_x]
    mov r13d, r12d
    sub r12d, eax                       # the next colour's left edge
    lea r13d, [r13 + rax + 1]           # the row's right end
    xor ebp, ebp
2:  mov eax, [rsp + 8]                  # the colour's right edge
    lea ecx, [rbp + 1]
    imul eax, ecx
    xor edx, edx
    div r14d
    mov ecx, [rsp + 8]
    shr ecx, 1
    sub eax, ecx
    add eax, [centre_x]
    lea ecx, [rbp + 1]
    cmp ecx, r14d
    je 3f
    cmp eax, r13d
    jl 5f
3:  mov eax, r13d
5:  mov edx, eax
    sub edx, r12d
    jle 6f
    mov [rsp + 12], eax
    mov [rsp + 16], edx
    mov edi, [r15 + rbp * 4]
    call pixel_of
    mov ecx, eax
    mov edx, [rsp + 16]
    mov edi, r12d
    mov esi, [centre_y]
    add esi, ebx
    call draw_span
    mov r12d, [rsp + 12]
6:  inc ebp
    cmp ebp, r14d
    jb 2b
    inc ebx
    jmp 1b
4:  add rsp, 24
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

# Fills the ramp from black in steps of EDI.
card_ramp:
    xor eax, eax
    xor ecx, ecx
1:  mov [ramp + rcx * 4], eax
    add eax, edi
    inc ecx
    cmp ecx, RAMP_STEPS
    jb 1b
    ret

# Draws the text at RDI, its middle ESI below the centre, in colour EDX on colour ECX (or TRANSPARENT).
card_label:
    push rbx
    push rbp
    push r12
    push r13
    mov rbx, rdi
    mov ebp, edx
    mov r12d, ecx
    call text_length
    imul eax, [text_scale]
    lea eax, [rax + rax * 2]            # half of GLYPH_WIDTH
    mov r13d, [centre_x]
    sub r13d, eax
    mov edi, esi
    call pixels
    mov ecx, [text_scale]
    imul edx, ecx, 7                    # a capital's height
    shr edx, 1
    sub eax, edx
    add eax, [centre_y]
    mov edx, eax
    mov rdi, rbx
    mov esi, r13d
    mov ecx, ebp
    mov r8d, r12d
    call draw_text
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

# The name and the mode.
card_mode:
    push rbx
    mov ebx, [text_scale]
    lea eax, [rbx + rbx * 2]
    mov [text_scale], eax
    mov edi, offset text_name
    mov esi, -540
    mov edx, WHITE
    mov ecx, TRANSPARENT
    call card_label
    lea eax, [rbx * 2]
    mov [text_scale], eax
    mov edi, offset scratch
    mov esi, 0x7f                       # the font's multiplication sign
    call format_mode
    mov edi, offset scratch
    mov esi, -350
    mov edx, INK
    mov ecx, TRANSPARENT
    call card_label
    mov [text_scale], ebx
    pop rbx
    ret

# What the function keys do: in the corners below the disc.
card_help:
    push rbx
    push rbp
    mov ebx, offset help_texts
1:  movsx edi, word ptr [rbx]
    call pixels
    add eax, [centre_x]
    mov ebp, eax
    movsx edi, word ptr [rbx + 2]
    call pixels
    add eax, [centre_y]
    mov edx, eax
    mov edi, [rbx + 4]
    mov esi, ebp
    mov ecx, WHITE
    mov r8d, PAPER
    call draw_text
    add ebx, 8
    cmp ebx, offset help_texts_end
    jb 1b
    pop rbp
    pop rbx
    ret

# A key's name and what it does: where (from the centre), the text.
help_texts:
    .word -930, 500
    .long text_f1
    .word -930, 575
    .long text_f2
    .word 530, 500
    .long text_f3
    .word 530, 575
    .long text_f4
help_texts_end:
text_name:      .asciz "LODGE"
text_f1:        .asciz "F1 size"
text_f2:        .asciz "F2 colours"
text_f3:        .asciz "F3 motion"
text_f4:        .asciz "F4 text"
