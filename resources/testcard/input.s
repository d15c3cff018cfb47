# Keyboard and mouse, straight from the keyboard controller (8042). The keyboard speaks scan code set 1, translated by the
# controller; the mouse speaks PS/2, with a wheel if it has one.

.set CONTROLLER_TRIES, 1000             # reads of the status port before an answer counts as missing
.set KEY_RELEASED, 0x80
.set KEY_F1, 0x3b
.set KEY_F4, 0x3e

.set POINTER_WIDTH, 12
.set POINTER_HEIGHT, 19

.bss
.balign 4
pointer_x:      .skip 4
pointer_y:      .skip 4
pointer_moved:  .skip 1                 # not yet reported
pointer_shown:  .skip 1
mouse_buttons:  .skip 1
mouse_count:    .skip 1                 # bytes of a packet so far
mouse_length:   .skip 1                 # bytes a packet has: 3, or 4 with a wheel
key_prefix:     .skip 1                 # 0xe0 or 0xe1, when one came before
key_shift:      .skip 1                 # bit 0 left, bit 1 right
key_caps:       .skip 1
.balign 4
mouse_packet:   .skip 4
under_pointer:  .skip POINTER_WIDTH * POINTER_HEIGHT * 4

.text
# Switches on both devices and their interrupts. What is missing is done without.
input_setup:
    push rbx
    mov byte ptr [mouse_length], 3
    mov al, 0xa8                        # the mouse's port on
    call controller_command
    mov al, 0x20                        # configuration byte
    call controller_command
    call controller_answer
    jc 1f
    or al, 0x43                         # both interrupts, translation
    and al, ~0x30                       # both clocks
    mov ebx, eax
    mov al, 0x60
    call controller_command
    mov eax, ebx
    call controller_data
1:  mov ebx, offset mouse_setup
2:  mov al, [rbx]
    call mouse_command
    inc ebx
    cmp ebx, offset mouse_setup_end
    jb 2b
    mov al, 0xf2                        # which kind is it?
    call mouse_command
    call controller_answer
    jc 3f
    cmp al, 3
    jne 3f
    mov byte ptr [mouse_length], 4
3:  mov al, 0xf4                        # report movements
    call mouse_command
    pop rbx
    ret

# Defaults; then the three sampling rates that ask for a wheel.
mouse_setup:
    .byte 0xf6,  0xf3, 200,  0xf3, 100,  0xf3, 80
mouse_setup_end:

# Sends AL to the controller as a command.
controller_command:
    call controller_ready
    out 0x64, al
    ret

# Sends AL to the controller or the keyboard as data.
controller_data:
    call controller_ready
    out 0x60, al
    ret

# Waits until the controller takes a byte. Keeps RAX.
controller_ready:
    push rax
    mov ecx, CONTROLLER_TRIES
1:  in al, 0x64
    test al, 2
    jz 2f
    dec ecx
    jnz 1b
2:  pop rax
    ret

# The next byte from the controller in AL; carry when none comes.
controller_answer:
    mov ecx, CONTROLLER_TRIES
1:  in al, 0x64
    test al, 1
    jnz 2f
    dec ecx
    jnz 1b
    stc
    ret
2:  in al, 0x60
    clc
    ret

# Sends AL to the mouse and takes its acknowledgement.
mouse_command:
    push rax
    mov al, 0xd4
    call controller_command
    pop rax
    call controller_data
    jmp controller_answer

# A byte from the keyboard, in EDI.
keyboard_byte:
    push rbx
    mov ebx, edi
    mov al, bl
    and al, 0xfe
    cmp al, 0xe0
    jne 1f
    mov [key_prefix], bl
    pop rbx
    ret
1:  mov edi, offset text_key
    call say_text
    movzx edi, byte ptr [key_prefix]
    test edi, edi
    jz 2f
    call say_hex
2:  mov edi, ebx
    and edi, 0x7f
    call say_hex
    mov edi, offset text_down
    test bl, KEY_RELEASED
    jz 3f
    mov edi, offset text_up
3:  call say_line
    mov edi, ebx
    movzx esi, byte ptr [key_prefix]
    mov byte ptr [key_prefix], 0
    pop rbx

# A key with the scan code EDI and the prefix ESI: what it does on the card.
key_typed:
    mov eax, edi
    and eax, 0x7f
    test esi, esi
    jnz 5f                              # of the keys with a prefix, only the keypad's Enter and slash type something
    cmp eax, 0x2a
    mov cl, 1
    je 4f
    cmp eax, 0x36
    mov cl, 2
    je 4f
1:  test dil, KEY_RELEASED
    jnz 9f
    cmp eax, 0x3a
    jne 2f
    xor byte ptr [key_caps], 1
    ret
2:  lea ecx, [rax - KEY_F1]
    cmp ecx, KEY_F4 - KEY_F1
    ja 3f
    jmp [function_keys + rcx * 8]
3:  cmp eax, 0x3a
    jae 9f
    movzx ecx, byte ptr [keys_plain + rax]
    mov dl, cl
    and dl, 0xdf                        # capital letters by shift or caps lock, everything else by shift alone
    sub dl, 'A'
    cmp dl, 'Z' - 'A'
    mov dl, 0
    ja 0f
    mov dl, [key_caps]
0:  cmp byte ptr [key_shift], 0
    je 0f
    xor dl, 1
0:  test dl, dl
    jz 6f
    movzx ecx, byte ptr [keys_shifted + rax]
    jmp 6f
4:  or [key_shift], cl                  # a shift key
    test dil, KEY_RELEASED
    jz 9f
    xor [key_shift], cl
    ret
5:  test dil, KEY_RELEASED
    jnz 9f
    mov ecx, '/'
    cmp eax, 0x35
    je 6f
    mov ecx, NEWLINE
    cmp eax, 0x1c
    jne 9f
6:  mov edx, [typed_length]             # the character in ECX
    cmp ecx, BACKSPACE
    je 7f
    cmp ecx, NEWLINE
    je 8f
    cmp ecx, ' '
    jb 9f
    cmp edx, TYPED_LENGTH
    jb 0f
    push rcx                            # a full line moves to the left
    mov esi, offset typed + 1
    lea edi, [rsi - 1]
    mov ecx, TYPED_LENGTH - 1
    rep movsb
    pop rcx
    mov edx, TYPED_LENGTH - 1
0:  mov [typed + rdx], cl
    inc edx
    mov [typed_length], edx
    jmp card_typed
7:  test edx, edx
    jz 9f
    dec edx
    mov [typed_length], edx
    jmp card_typed
8:  mov dword ptr [typed_length], 0
    jmp card_typed
9:  ret

.balign 8
function_keys:
    .quad next_size, next_depth, next_storm, other_card

# The characters of a US keyboard, by scan code; 0 for none.
keys_plain:
    .ascii "\0\0331234567890-=\b\0qwertyuiop[]\n\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 \0"
keys_shifted:
    .ascii "\0\033!@#$%^&*()_+\b\0QWERTYUIOP{}\n\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 \0"

# A byte from the mouse, in EDI.
mouse_byte:
    movzx eax, byte ptr [mouse_count]
    test eax, eax
    jnz 1f
    test dil, 8                         # always set in a packet's first byte
    jz 9f
1:  mov [mouse_packet + rax], dil
    inc eax
    mov [mouse_count], al
    cmp al, [mouse_length]
    jb 9f
    mov byte ptr [mouse_count], 0
    push rbx
    movzx ebx, byte ptr [mouse_packet]
    movzx eax, byte ptr [mouse_packet + 1]
    movzx ecx, byte ptr [mouse_packet + 2]
    test bl, 0x10                       # the signs are in the first byte
    jz 2f
    sub eax, 0x100
2:  test bl, 0x20
    jz 3f
    sub ecx, 0x100
3:  neg ecx                             # the mouse's y points up
    mov edi, eax
    or edi, ecx
    jz 4f
    mov edi, eax
    mov esi, ecx
    call pointer_move
4:  mov edi, ebx
    call mouse_buttons_are
    cmp byte ptr [mouse_length], 4
    jb 5f
    mov al, [mouse_packet + 3]
    shl al, 4                           # four bits with a sign
    sar al, 4
    jz 5f
    mov edi, offset text_wheel_down
    jns 6f
    mov edi, offset text_wheel_up
6:  call say_line
5:  pop rbx
9:  ret

# Reports the buttons of EDI (bit 0 left, 1 right, 2 middle) that are not as before.
mouse_buttons_are:
    push rbx
    push rbp
    push r12
    mov r12d, edi
    and r12d, 7
    movzx ebp, byte ptr [mouse_buttons]
    xor ebp, r12d
    jz 3f
    mov [mouse_buttons], r12b
    call input_settled                  # first where it happened
    xor ebx, ebx
1:  bt ebp, ebx
    jnc 2f
    mov edi, offset text_button
    call say_text
    mov edi, [button_names + rbx * 4]
    call say_text
    mov edi, offset text_down
    bt r12d, ebx
    jc 0f
    mov edi, offset text_up
0:  call say_line
2:  inc ebx
    cmp ebx, 3
    jb 1b
3:  pop r12
    pop rbp
    pop rbx
    ret

# Moves the pointer by EDI to the right and ESI down, as far as the screen reaches.
pointer_move:
    push rdi
    push rsi
    call pointer_hide
    pop rsi
    pop rdi
    add edi, [pointer_x]
    add esi, [pointer_y]
    xor eax, eax
    test edi, edi
    cmovs edi, eax
    test esi, esi
    cmovs esi, eax
    mov eax, [screen_width]
    dec eax
    cmp edi, eax
    cmovg edi, eax
    mov eax, [screen_height]
    dec eax
    cmp esi, eax
    cmovg esi, eax
    mov [pointer_x], edi
    mov [pointer_y], esi
    mov byte ptr [pointer_moved], 1
    ret

# After the queue is empty: shows and reports where the pointer has come to.
input_settled:
    cmp byte ptr [pointer_moved], 0
    je 1f
    mov byte ptr [pointer_moved], 0
    call card_pointer
    call pointer_show
    mov edi, offset text_pointer
    call say_text
    mov edi, [pointer_x]
    call say_number
    mov edi, ' '
    call say_character
    mov edi, [pointer_y]
    call say_number
    jmp say_end
1:  ret

# Puts back what was under the pointer.
pointer_hide:
    cmp byte ptr [pointer_shown], 0
    je 1f
    mov byte ptr [pointer_shown], 0
    mov edi, offset pointer_restore_row
    jmp pointer_rows
1:  ret

# Draws the pointer, an arrow, over the card, and keeps what was there.
pointer_show:
    cmp byte ptr [card_kind], CARD_GRAPHICS
    jne 1b
    cmp byte ptr [pointer_shown], 0
    jne 1b
    mov byte ptr [pointer_shown], 1
    mov edi, offset pointer_keep_row
    call pointer_rows
    mov edi, offset pointer_draw_row

# Calls RDI for each of the pointer's rows on the screen: RSI is the frame buffer's address, RDX the kept bytes', ECX the
# number of bytes, R8D the row's number.
pointer_rows:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    mov rbx, rdi
    mov r12d, POINTER_WIDTH
    mov eax, [screen_width]
    sub eax, [pointer_x]
    cmp r12d, eax
    cmova r12d, eax
    imul r12d, [screen_bytes]
    mov ebp, [pointer_y]
    imul ebp, [screen_pitch]
    mov eax, [pointer_x]
    imul eax, [screen_bytes]
    add rbp, rax
    add rbp, [screen]
    mov r13d, offset under_pointer
    xor r14d, r14d
1:  mov eax, [pointer_y]
    add eax, r14d
    cmp eax, [screen_height]
    jae 2f
    mov rsi, rbp
    mov rdx, r13
    mov ecx, r12d
    mov r8d, r14d
    call rbx
    mov eax, [screen_pitch]
    add rbp, rax
    add r13d, POINTER_WIDTH * 4
    inc r14d
    cmp r14d, POINTER_HEIGHT
    jb 1b
2:  pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

pointer_keep_row:
    mov rdi, rdx
    rep movsb
    ret

pointer_restore_row:
    mov rdi, rsi
    mov rsi, rdx
    rep movsb
    ret

pointer_draw_row:
    push rbx
    push rbp
    push r12
    movzx ebx, word ptr [pointer_outline + r8 * 2]
    movzx ebp, word ptr [pointer_inside + r8 * 2]
    mov r12d, [pointer_x]
    mov esi, [pointer_y]
    add esi, r8d
1:  mov edi, BLACK
    shl ebx, 1
    test ebx, 0x10000
    jnz 2f
    mov edi, WHITE
    test ebp, 0x8000
    jz 3f
2:  call pixel_of
    mov ecx, eax
    mov edx, 1
    mov edi, r12d
    call draw_span
3:  inc r12d
    shl ebp, 1
    and ebx, 0xffff
    mov eax, ebp
    and eax, 0xffff
    or eax, ebx
    jnz 1b
    pop r12
    pop rbp
    pop rbx
    ret

# The arrow; bit 15 is its leftmost pixel.
pointer_outline:
    .word 0b1000000000000000, 0b1100000000000000, 0b1010000000000000, 0b1001000000000000, 0b1000100000000000
    .word 0b1000010000000000, 0b1000001000000000, 0b1000000100000000, 0b1000000010000000, 0b1000000001000000
    .word 0b1000000000100000, 0b1000001111110000, 0b1000001000000000, 0b1001100100000000, 0b1010100100000000
    .word 0b1100010010000000, 0b1000010010000000, 0b0000001001000000, 0b0000000111000000
pointer_inside:
    .word 0b0000000000000000, 0b0000000000000000, 0b0100000000000000, 0b0110000000000000, 0b0111000000000000
    .word 0b0111100000000000, 0b0111110000000000, 0b0111111000000000, 0b0111111100000000, 0b0111111110000000
    .word 0b0111111111000000, 0b0111110000000000, 0b0111110000000000, 0b0110011000000000, 0b0100011000000000
    .word 0b0000001100000000, 0b0000001100000000, 0b0000000110000000, 0b0000000000000000

.balign 4
button_names:
    .long text_left, text_right, text_middle
text_left:          .asciz "left"
text_right:         .asciz "right"
text_middle:        .asciz "middle"
text_key:           .asciz "key "
text_button:        .asciz "button "
text_down:          .asciz " down"
text_up:            .asciz " up"
text_wheel_up:      .asciz "wheel up"
text_wheel_down:    .asciz "wheel down"
