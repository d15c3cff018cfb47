# What the serial port may ask for: a line a command, a line an answer.

.set LINE_LENGTH, 80

.bss
line_length:    .skip 4
line:           .skip LINE_LENGTH + 1
depth_index:    .skip 1
size_index:     .skip 1

.text
# A byte from the serial port, in EDI.
command_byte:
    mov ecx, [line_length]
    cmp edi, CARRIAGE_RETURN
    je 2f
    cmp edi, NEWLINE
    je 2f
    cmp edi, BACKSPACE
    je 1f
    cmp edi, DELETE
    je 1f
    cmp ecx, LINE_LENGTH
    jae 9f
    mov [line + rcx], dil
    inc dword ptr [line_length]
    ret
1:  test ecx, ecx
    jz 9f
    dec dword ptr [line_length]
    ret
2:  mov dword ptr [line_length], 0
    test ecx, ecx
    jz 9f                               # an empty line; CR and LF together are one end
    mov byte ptr [line + rcx], 0

    push rbx
    mov ebx, offset command_table
3:  mov esi, offset line
    mov edi, [rbx]
    call word_is
    je 4f
    add ebx, 8
    cmp ebx, offset command_table_end
    jb 3b
    pop rbx
    mov edi, offset text_unknown
    jmp say_line
4:  mov eax, [rbx + 4]
    pop rbx
    jmp rax                             # with RSI behind the word
9:  ret

# Whether the text at RSI begins with the whole word at RDI: then equal, and RSI behind it and the blanks that follow.
word_is:
    mov al, [rdi]
    test al, al
    jz 1f
    cmp al, [rsi]
    jne 3f
    inc rdi
    inc rsi
    jmp word_is
1:  cmp byte ptr [rsi], 0
    je 3f
    cmp byte ptr [rsi], ' '
    jne 3f
2:  inc rsi
    cmp byte ptr [rsi], ' '
    je 2b
    cmp al, al
3:  ret

# The number at RSI, in base ECX, in EAX, with RSI behind it and the blanks that follow. Carry when there is none.
number:
    xor eax, eax
    xor edi, edi                        # digits
1:  movzx edx, byte ptr [rsi]
    cmp edx, '0'
    jb 4f
    cmp edx, '9'
    jbe 2f
    or edx, 0x20
    sub edx, 'a' - 10 - '0'
    cmp edx, 10 + '0'
    jb 4f
2:  sub edx, '0'
    cmp edx, ecx
    jae 4f
    imul eax, ecx
    add eax, edx
    inc edi
    inc rsi
    cmp edi, 8
    jb 1b
4:  cmp byte ptr [rsi], ' '
    jne 5f
    inc rsi
    jmp 4b
5:  cmp edi, 1                          # carry when it is 0
    ret

.balign 4
command_table:
    .long word_ping, command_ping
    .long word_help, command_help
    .long word_mode, command_mode
    .long word_card, command_card
    .long word_text, command_text
    .long word_fill, command_fill
    .long word_storm, command_storm
    .long word_stop, command_stop
    .long word_spin, command_spin
    .long word_seconds, command_seconds
    .long word_idle, command_idle
    .long word_run, command_run
    .long word_halt, command_halt
    .long word_reset, command_reset
    .long word_triple, command_triple
    .long word_bad, command_bad
    .long word_poweroff, command_poweroff
command_table_end:

command_ping:
    mov edi, offset text_pong
    jmp say_line

command_help:
    mov edi, offset text_help
    jmp say_line

say_ok:
    mov edi, offset text_ok
    jmp say_line

say_arguments:
    mov edi, offset text_arguments
    jmp say_line

# mode W H BPP
command_mode:
    push rbx
    push rbp
    mov ecx, 10
    call number
    jc 1f
    mov ebx, eax
    call number
    jc 1f
    mov ebp, eax
    call number
    jc 1f
    mov edx, eax
    mov edi, ebx
    mov esi, ebp
    pop rbp
    pop rbx
    call video_set
    jc 2f
    call storm_stop
    call card_draw
    mov edi, offset text_ok_mode
    jmp say_mode
1:  pop rbp
    pop rbx
    jmp say_arguments
2:  mov edi, offset text_no_mode
    jmp say_line

# Says the text at RDI, the mode, and ends the line.
say_mode:
    call say_text
    mov edi, offset scratch
    mov esi, 'x'
    call format_mode
    mov edi, offset scratch
    jmp say_line

say_ready:
    mov edi, offset greeting_again
    call say_text
    mov edi, offset scratch
    mov esi, 'x'
    call format_mode
    mov edi, offset scratch
    call say_text
    mov edi, offset text_ready
    jmp say_line

# Sets the last linear mode again if the screen is in text mode.
graphics_again:
    cmp byte ptr [card_kind], CARD_TEXT
    jne 1f
    mov edi, [screen_width]
    mov esi, [screen_height]
    mov edx, [screen_depth]
    jmp video_set
1:  ret

command_card:
    call storm_stop
    call graphics_again
    call card_draw
    jmp say_ok

command_text:
    call storm_stop
    call text_card_draw
    jmp say_ok

# fill RRGGBB
command_fill:
    mov ecx, 16
    call number
    jc say_arguments
    push rax
    call storm_stop
    call graphics_again
    mov byte ptr [card_kind], CARD_NONE
    mov byte ptr [pointer_shown], 0
    pop r8
    xor edi, edi
    xor esi, esi
    mov edx, [screen_width]
    mov ecx, [screen_height]
    call draw_rect
    jmp say_ok

# storm [plasma | noise | scroll | window]
command_storm:
    mov edx, STORM_PLASMA
    cmp byte ptr [rsi], 0
    je 2f
1:  mov edi, [storm_words + rdx * 4]
    test edi, edi
    jz say_arguments
    push rsi
    call word_is
    pop rsi
    je 2f
    inc edx
    jmp 1b
2:  mov edi, edx
    call storm_start
    jmp say_ok

command_spin:
    mov edi, STORM_SPIN
    call storm_start
    jmp say_ok

command_stop:
    call storm_stop
    mov edi, offset text_ok_frames
    mov esi, [storm_frames]
    jmp say_number_line

# seconds on | off
command_seconds:
    mov edx, 1
    mov edi, offset word_on
    push rsi
    call word_is
    pop rsi
    je 1f
    xor edx, edx
    mov edi, offset word_off
    call word_is
    jne say_arguments
1:  mov [seconds_said], dl
    jmp say_ok

command_idle:
    mov byte ptr [clock_stopped], 1
    call storm_stop
    call clock_again
    jmp say_ok

command_run:
    mov byte ptr [clock_stopped], 0
    call clock_again
    jmp say_ok

# The tick of a second, unless it was stopped.
clock_again:
    mov edi, 1
    sub dil, [clock_stopped]
    jmp timer_set

command_halt:
    call say_ok
    mov eax, SERVICE_HALT
    hlt

command_triple:
    call say_ok
    mov eax, SERVICE_TRIPLE_FAULT
    hlt

command_bad:
    call say_ok
    mov eax, SERVICE_BAD_INSTRUCTION
    hlt

# reset kbd | port92 | cf9
command_reset:
    mov edi, offset word_kbd
    push rsi
    call word_is
    pop rsi
    jne 1f
    call say_ok
    mov al, 0xfe
    out 0x64, al
    jmp still_here
1:  mov edi, offset word_port92
    push rsi
    call word_is
    pop rsi
    jne 2f
    call say_ok
    in al, 0x92
    and al, 0xfe
    out 0x92, al
    or al, 1
    out 0x92, al
    jmp still_here
2:  mov edi, offset word_cf9
    call word_is
    jne say_arguments
    call say_ok
    mov edx, 0xcf9
    mov al, 2
    out dx, al
    mov al, 6
    out dx, al

# After a request that ends this run: it may take a moment.
still_here:
    mov ecx, 10000
1:  in al, 0x64
    dec ecx
    jnz 1b
    mov edi, offset text_still_here
    jmp say_line

# Soft off, through the power management of the PIIX4 at 00:01.3.
command_poweroff:
    call say_ok
    mov edx, 0xcf8
    mov eax, 0x80000b40
    out dx, eax
    mov edx, 0xcfc
    in eax, dx
    and eax, 0xffc0
    lea edx, [rax + 4]
    mov eax, 0x2000                     # SLP_EN; type 0
    out dx, ax
    jmp still_here

# F1: the next size; what the video memory cannot hold is left out.
next_size:
    push rbx
1:  movzx ebx, byte ptr [size_index]
    inc ebx
    cmp ebx, (offset video_modes_end - offset video_modes) / 4
    jb 2f
    xor ebx, ebx
2:  mov [size_index], bl
    movzx edi, word ptr [video_modes + rbx * 4]
    movzx esi, word ptr [video_modes + rbx * 4 + 2]
    mov edx, [screen_depth]
    call video_set
    jc 1b
    pop rbx
    jmp new_mode

# F2: the next depth.
next_depth:
    mov eax, [screen_depth]
    mov ecx, offset video_depths
1:  inc ecx
    cmp al, [rcx - 1]
    jne 1b
    movzx edx, byte ptr [rcx]
    mov edi, [screen_width]
    mov esi, [screen_height]
    call video_set

new_mode:
    call storm_stop
    call card_draw
    mov edi, offset text_mode
    jmp say_mode

# F3: a storm, the next one, and after the last the card again.
next_storm:
    mov edi, [storm_kind]
    inc edi
    cmp edi, STORM_SPIN
    jb storm_start
    call storm_stop
    jmp card_draw

# F4: the other card, text or graphics.
other_card:
    call storm_stop
    cmp byte ptr [card_kind], CARD_TEXT
    jne text_card_draw
    call graphics_again
    jmp card_draw

.balign 4
storm_words:
    .long 0, word_plasma, word_noise, word_scroll, word_window, 0

word_ping:      .asciz "ping"
word_help:      .asciz "help"
word_mode:      .asciz "mode"
word_card:      .asciz "card"
word_text:      .asciz "text"
word_fill:      .asciz "fill"
word_storm:     .asciz "storm"
word_plasma:    .asciz "plasma"
word_noise:     .asciz "noise"
word_scroll:    .asciz "scroll"
word_window:    .asciz "window"
word_stop:      .asciz "stop"
word_spin:      .asciz "spin"
word_seconds:   .asciz "seconds"
word_on:        .asciz "on"
word_off:       .asciz "off"
word_idle:      .asciz "idle"
word_run:       .asciz "run"
word_halt:      .asciz "halt"
word_reset:     .asciz "reset"
word_kbd:       .asciz "kbd"
word_port92:    .asciz "port92"
word_cf9:       .asciz "cf9"
word_triple:    .asciz "triple"
word_bad:       .asciz "bad"
word_poweroff:  .asciz "poweroff"

greeting_again: .asciz "LODGE TESTCARD 1 "
text_ready:     .asciz " ready"
text_mode:      .asciz "mode "
text_pong:      .asciz "pong"
text_ok:        .asciz "ok"
text_ok_mode:   .asciz "ok "
text_ok_frames: .asciz "ok, frames: "
text_arguments: .asciz "error: what is asked for is not clear. Say help for the commands"
text_unknown:   .asciz "error: no such command. Say help for the commands"
text_no_mode:   .asciz "error: no such mode. Ask for 320 to 2560 by 200 to 1600 pixels of 8, 15, 16, 24 or 32 bits"
text_still_here: .asciz "error: nothing came of it"
text_help:
    .ascii "commands: ping, mode W H BPP, card, text, fill RRGGBB, storm [plasma|noise|scroll|window], spin, stop, "
    .asciz "seconds on|off, idle, run, halt, reset kbd|port92|cf9, triple, bad, poweroff"
