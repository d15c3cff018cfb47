# Pixels, rectangles and text in a linear mode. Colours are 0xRRGGBB; what lies outside the screen is left out.

.set TRANSPARENT, -1                    # a background that is left as it is
.set GLYPH_WIDTH, 6                     # with the gap to the next one
.set GLYPH_HEIGHT, 9
.set FONT_FIRST, 0x20

.bss
.balign 4
text_scale:     .skip 4                 # screen pixels a pixel of the font

.text
font:                                   # a byte a row; bit 4 is the leftmost pixel
    .incbin "font.bin"

# The pixel that shows colour EDI in the mode that is set, in EAX. Changes RDX.
pixel_of:
    mov eax, edi
    mov edx, [screen_depth]
    cmp edx, 24
    jae 2f
    cmp edx, 15
    jb 3f
    shr eax, 3                          # blue: five bits
    and eax, 0x1f
    cmp edx, 16
    je 1f
    mov edx, edi                        # 5-5-5
    shr edx, 6
    and edx, 0x3e0
    or eax, edx
    mov edx, edi
    shr edx, 9
    and edx, 0x7c00
    or eax, edx
    ret
1:  mov edx, edi                        # 5-6-5
    shr edx, 5
    and edx, 0x7e0
    or eax, edx
    mov edx, edi
    shr edx, 8
    and edx, 0xf800
    or eax, edx
2:  ret
3:  push rcx                            # the palette of palette_set: first the greys
    movzx eax, dil
    imul ecx, eax, 0x010101
    cmp ecx, edi
    jne 4f
    imul eax, eax, PALETTE_GREYS - 1
    call rounded_to_byte
    add eax, PALETTE_GREY
    pop rcx
    ret
4:  imul eax, eax, 5                    # then the cube
    call rounded_to_byte
    mov ecx, eax
    mov eax, edi
    shr eax, 8
    movzx eax, al
    imul eax, eax, 5
    call rounded_to_byte
    imul eax, eax, 6
    add ecx, eax
    mov eax, edi
    shr eax, 16
    imul eax, eax, 5
    call rounded_to_byte
    imul eax, eax, 36
    add eax, ecx
    pop rcx
    ret

# EAX / 255, rounded. Changes RDX.
rounded_to_byte:
    lea edx, [rax + 128]
    shr edx, 8
    lea eax, [rax + rdx + 128]
    shr eax, 8
    ret

# Draws EDX pixels of the value in ECX from column EDI of row ESI. Signed; clipped. Changes RAX, RCX, RDX, RDI.
draw_span:
    cmp esi, [screen_height]
    jae 9f
    test edi, edi
    jns 1f
    add edx, edi
    xor edi, edi
1:  mov eax, [screen_width]
    sub eax, edi
    jle 9f
    cmp edx, eax
    jle 2f
    mov edx, eax
2:  test edx, edx
    jle 9f
    imul edi, [screen_bytes]
    mov eax, esi
    imul eax, [screen_pitch]
    add rdi, rax
    add rdi, [screen]
    mov eax, ecx
    mov ecx, edx
    cmp dword ptr [screen_bytes], 2
    jb 3f
    je 4f
    cmp dword ptr [screen_bytes], 3
    je 5f
    rep stosd
    ret
3:  rep stosb
    ret
4:  rep stosw
    ret
5:  mov edx, eax
    shr edx, 16
6:  mov [rdi], ax
    mov [rdi + 2], dl
    add rdi, 3
    dec ecx
    jnz 6b
9:  ret

# Fills the rectangle at EDI, ESI, EDX wide and ECX high, with colour R8D.
draw_rect:
    push rbx
    push rbp
    push r12
    push r13
    mov ebx, edi
    mov ebp, edx
    lea r12d, [rsi + rcx]
    mov edi, r8d
    call pixel_of
    mov r13d, eax
1:  cmp esi, r12d
    jge 2f
    mov edi, ebx
    mov edx, ebp
    mov ecx, r13d
    call draw_span
    inc esi
    jmp 1b
2:  pop r13
    pop r12
    pop rbp
    pop rbx
    ret

# Draws the text at RDI from ESI, EDX in colour ECX on colour R8D (or TRANSPARENT), at text_scale.
draw_text:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    mov rbx, rdi
    mov ebp, esi
    mov r12d, edx
    mov r13d, ecx
    mov r14d, r8d
1:  movzx edi, byte ptr [rbx]
    inc rbx
    test edi, edi
    jz 2f
    mov esi, ebp
    mov edx, r12d
    mov ecx, r13d
    mov r8d, r14d
    call draw_glyph
    mov eax, [text_scale]
    imul eax, eax, GLYPH_WIDTH
    add ebp, eax
    jmp 1b
2:  pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

# Draws the character EDI at ESI, EDX in colour ECX on colour R8D (or TRANSPARENT).
draw_glyph:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov ebp, esi                        # x
    mov r12d, edx                       # y
    mov r13d, ecx                       # colour
    lea ebx, [rdi - FONT_FIRST]
    cmp ebx, 96
    jb 1f
    mov ebx, '?' - FONT_FIRST
1:  lea ebx, [rbx + rbx * 8]
    add ebx, offset font
    cmp r8d, TRANSPARENT
    je 2f
    mov edi, ebp
    mov esi, r12d
    mov edx, [text_scale]
    imul ecx, edx, GLYPH_HEIGHT
    imul edx, edx, GLYPH_WIDTH
    call draw_rect
2:  mov r14d, GLYPH_HEIGHT
3:  movzx r15d, byte ptr [rbx]          # a row; the bits leave at the top
    inc ebx
    shl r15d, 27
    push rbp
4:  test r15d, r15d
    jz 6f
    jns 5f
    mov edi, ebp
    mov esi, r12d
    mov edx, [text_scale]
    mov ecx, edx
    mov r8d, r13d
    call draw_rect
5:  add ebp, [text_scale]
    shl r15d, 1
    jmp 4b
6:  pop rbp
    add r12d, [text_scale]
    dec r14d
    jnz 3b
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

# The length of the text at RDI, in EAX.
text_length:
    xor eax, eax
1:  cmp byte ptr [rdi + rax], 0
    je 2f
    inc eax
    jmp 1b
2:  ret
