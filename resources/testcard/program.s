# Ring 3: the start and the loop over events.
#
# Calls follow the usual convention: arguments in RDI, RSI, RDX, RCX, R8, R9; RBX, RBP and R12 to R15 survive a call.

.bss
.balign 8
seconds:        .skip 4                 # since the start
seconds_said:   .skip 1                 # whether each second is reported at the serial port
clock_stopped:  .skip 1
.balign 4
ticks_seen:     .skip 4
tick_rate:      .skip 4                 # timer interrupts a second
tick_phase:     .skip 4                 # ticks since the last full second

.text
program:
    mov eax, USER_DATA
    mov ds, eax
    mov es, eax
    call input_setup
    call video_find
    call video_default
    jc 1f
    call card_draw
1:  mov edi, 1
    call timer_set
    call serial_interrupts
    mov al, 0xe9                        # keyboard, COM1, cascade
    out 0x21, al
    mov al, 0xef                        # mouse
    out 0xa1, al
    call say_ready

program_loop:
    cmp dword ptr [storm_kind], STORM_SPIN
    je 1f
    mov eax, SERVICE_WAIT
    hlt
1:  mov ecx, [queue_tail]
    cmp ecx, [queue_head]
    je 2f
    movzx edi, byte ptr [queue + rcx * 2]
    movzx eax, byte ptr [queue + rcx * 2 + 1]
    inc ecx
    and ecx, QUEUE_LENGTH - 1
    mov [queue_tail], ecx
    call [event_handlers + rax * 8]
    jmp 1b
2:  call input_settled
    mov eax, [ticks]
    cmp eax, [ticks_seen]
    je program_loop
    mov [ticks_seen], eax
    call tick
    jmp program_loop

.balign 8
event_handlers:
    .quad keyboard_byte, mouse_byte, command_byte

# One tick of the timer: a picture of a storm, or a second.
tick:
    call storm_step
    inc dword ptr [tick_phase]
    mov eax, [tick_phase]
    cmp eax, [tick_rate]
    jb 2f
    mov dword ptr [tick_phase], 0
    inc dword ptr [seconds]
    call card_clock
    cmp byte ptr [seconds_said], 0
    je 2f
    mov edi, offset text_second
    mov esi, [seconds]
    call say_number_line
2:  ret

# The timer: EDI times a second, 0 for never.
timer_set:
    mov [tick_rate], edi
    mov dword ptr [tick_phase], 0
    mov ecx, APIC
    xor eax, eax
    test edi, edi
    jz 1f
    mov dword ptr [rcx + APIC_TIMER_DIVIDE], 3                  # by 16
    mov dword ptr [rcx + APIC_TIMER], 0x20000 | VECTOR_TIMER    # periodic
    mov eax, 1000000000 / 16                                    # KVM's local APIC counts nanoseconds
    xor edx, edx
    div edi
1:  mov [rcx + APIC_TIMER_COUNT], eax
    ret

text_second:
    .asciz "second "
