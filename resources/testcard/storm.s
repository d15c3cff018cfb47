# Moving pictures, 60 a second: a load for the screen's whole way to a viewer.

.set STORM_RATE, 60

.bss
.balign 8
storm_seed:     .skip 8
storm_kind:     .skip 4
storm_frames:   .skip 4                 # since it began
window_x:       .skip 4
window_y:       .skip 4
window_dx:      .skip 4
window_dy:      .skip 4

.text
# Begins a storm of kind EDI.
storm_start:
    push rbx
    mov ebx, edi
    call pointer_hide
    mov dword ptr [storm_frames], 0
    cmp ebx, STORM_SPIN
    je 1f
    call graphics_again
    mov byte ptr [card_kind], CARD_NONE
    xor edi, edi
    xor esi, esi
    mov edx, [screen_width]
    mov ecx, [screen_height]
    mov r8d, PAPER
    call draw_rect
    mov dword ptr [window_x], 0
    mov dword ptr [window_y], 0
    mov dword ptr [window_dx], 8
    mov dword ptr [window_dy], 4
    mov edi, STORM_RATE
    call timer_set
1:  mov [storm_kind], ebx
    pop rbx
    ret

# Ends the storm, if there is one, and brings back the second's tick.
storm_stop:
    cmp dword ptr [storm_kind], STORM_NONE
    je 1f
    mov dword ptr [storm_kind], STORM_NONE
    jmp clock_again
1:  ret

# The next picture.
storm_step:
    inc dword ptr [storm_frames]
    mov eax, [storm_kind]
    jmp [storm_steps + rax * 8]

.balign 8
storm_steps:
    .quad storm_nothing, storm_plasma, storm_noise, storm_scroll, storm_window, storm_nothing

storm_plasma:
    mov rdi, [screen]
    xor esi, esi
1:  mov ecx, [screen_pitch]
    shr ecx, 2
2:  mov eax, ecx
    xor eax, esi
    add eax, [storm_frames]
    imul eax, eax, 0x00010305
    stosd
    dec ecx
    jnz 2b
    inc esi
    cmp esi, [screen_height]
    jb 1b
storm_nothing:
    ret

storm_noise:
    mov rdi, [screen]
    mov ecx, [screen_pitch]
    imul ecx, [screen_height]
    shr ecx, 3
    mov rax, [storm_seed]
    mov rdx, 0x9e3779b97f4a7c15
    xor rax, rdx
1:  mov rdx, rax                        # xorshift64
    shl rdx, 13
    xor rax, rdx
    mov rdx, rax
    shr rdx, 7
    xor rax, rdx
    mov rdx, rax
    shl rdx, 17
    xor rax, rdx
    stosq
    dec ecx
    jnz 1b
    mov [storm_seed], rax
    ret

storm_scroll:
    push rbx
    imul ebx, [text_scale], GLYPH_HEIGHT + 1
    mov rdi, [screen]
    mov esi, ebx
    imul esi, [screen_pitch]
    mov ecx, [screen_height]
    sub ecx, ebx
    imul ecx, [screen_pitch]
    add rsi, rdi
    shr ecx, 3
    rep movsq
    xor edi, edi
    mov esi, [screen_height]
    sub esi, ebx
    mov edx, [screen_width]
    mov ecx, ebx
    mov r8d, INK
    call draw_rect
    mov edi, offset scratch
    mov esi, offset text_line
    call append
    mov eax, [storm_frames]
    call format_number
    mov esi, offset text_scrolls
    call append
    mov byte ptr [rdi], 0
    mov edi, offset scratch
    mov esi, [text_scale]
    mov edx, [screen_height]
    sub edx, ebx
    mov ecx, TYPED
    mov r8d, TRANSPARENT
    call draw_text
    pop rbx
    ret

# A third of the screen's width and height; it turns at the edges.
storm_window:
    push rbx
    push rbp
    push r12
    push r13
    xor edx, edx
    mov eax, [screen_width]
    mov ecx, 3
    div ecx
    mov ebx, eax
    xor edx, edx
    mov eax, [screen_height]
    div ecx
    mov ebp, eax
    mov r12d, [window_x]
    mov r13d, [window_y]

    mov eax, [window_dx]
    mov edi, r12d
    add edi, eax
    mov ecx, [screen_width]
    sub ecx, ebx
    call storm_turn
    mov [window_dx], eax
    mov [window_x], edi
    mov eax, [window_dy]
    mov edi, r13d
    add edi, eax
    mov ecx, [screen_height]
    sub ecx, ebp
    call storm_turn
    mov [window_dy], eax
    mov [window_y], edi

    mov edi, r12d                       # the background where it was
    mov esi, r13d
    mov edx, ebx
    mov ecx, ebp
    mov r8d, PAPER
    call draw_rect
    mov edi, [window_x]
    mov esi, [window_y]
    mov edx, ebx
    mov ecx, ebp
    mov r8d, WHITE
    call draw_rect
    mov edi, [window_x]
    mov esi, [window_y]
    mov edx, ebx
    mov ecx, [unit]
    mov r8d, ACCENT
    call draw_rect
    mov edi, offset text_name
    mov esi, [window_x]
    add esi, [text_scale]
    mov edx, [window_y]
    add edx, [text_scale]
    mov ecx, INK
    mov r8d, TRANSPARENT
    call draw_text
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

# Keeps the place EDI between 0 and ECX; the step in EAX turns round at the ends.
storm_turn:
    test edi, edi
    jns 1f
    xor edi, edi
    neg eax
1:  cmp edi, ecx
    jle 2f
    mov edi, ecx
    neg eax
2:  ret

text_line:      .asciz "line "
text_scrolls:   .asciz " of a text that moves up"
