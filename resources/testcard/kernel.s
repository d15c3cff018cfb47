# Ring 0: descriptor tables, interrupts and the few services that the program cannot do for itself.
#
# The program asks for a service by executing `hlt`, which faults in ring 3, with the service's number in EAX. (A software
# interrupt or SYSCALL would be usual, but not every KVM can do them.)

.set SERVICE_WAIT, 0                    # until an interrupt has come since the last wait
.set SERVICE_HALT, 1                    # for good, interrupts off
.set SERVICE_TRIPLE_FAULT, 2
.set SERVICE_BAD_INSTRUCTION, 3         # one that KVM has to emulate and cannot

.set VECTOR_GP, 13
.set VECTOR_PIC, 0x20                   # IRQ 0; IRQ 15 is 0x2f
.set VECTOR_TIMER, 0x30
.set VECTOR_SPURIOUS, 0x3f
.set VECTORS, 0x40

.set APIC, 0xfee00000
.set APIC_EOI, 0xb0                     # its registers
.set APIC_SPURIOUS, 0xf0
.set APIC_TIMER, 0x320
.set APIC_TIMER_COUNT, 0x380
.set APIC_TIMER_DIVIDE, 0x3e0

# The queue's entries: the source in the high byte, the byte it sent in the low one.
.set FROM_KEYBOARD, 0
.set FROM_MOUSE, 1
.set FROM_SERIAL, 2
.set QUEUE_LENGTH, 1024

.bss
.balign 16
idt:            .skip VECTORS * 16
task_state:     .skip 0x68
queue:          .skip QUEUE_LENGTH * 2
queue_head:     .skip 4                 # next entry to fill; only the kernel writes it
queue_tail:     .skip 4                 # next entry to take; only the program writes it
ticks:          .skip 4                 # of the timer
events:         .skip 4                 # interrupts since the last wait

.text
.balign 8
gdt:                                    # the selectors are those that Linux uses
    .quad 0
    .quad 0
    .quad 0x00af9b000000ffff            # 0x10 kernel's code, 64 bits
    .quad 0x00cf93000000ffff            # 0x18 kernel's data
    .quad 0
    .quad 0x00cff3000000ffff            # 0x28 program's data
    .quad 0x00affb000000ffff            # 0x30 program's code, 64 bits
    .quad 0
task_descriptor:
    .quad 0, 0                          # 0x40 task state
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt
idt_pointer:
    .word VECTORS * 16 - 1
    .quad idt
no_idt:
    .word 0
    .quad 0

.code64
kernel_start:
    mov eax, KERNEL_DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, KERNEL_STACK
    mov edi, offset bss_start
    mov ecx, offset bss_end
    sub ecx, edi
    xor eax, eax
    shr ecx, 2
    rep stosd

    mov esi, offset entry_points
    mov edi, offset idt
    mov ecx, VECTORS
1:  movzx eax, word ptr [rsi]
    mov [rdi], ax
    mov word ptr [rdi + 2], KERNEL_CODE
    mov word ptr [rdi + 4], 0x8e00      # present interrupt gate of ring 0
    add esi, 2
    add edi, 16
    dec ecx
    jnz 1b
    lidt [idt_pointer]

    mov dword ptr [task_state + 4], KERNEL_STACK
    mov word ptr [task_state + 0x66], 0x68
    mov eax, offset task_state
    mov word ptr [task_descriptor], 0x67
    mov [task_descriptor + 2], eax
    mov byte ptr [task_descriptor + 5], 0x89
    mov eax, TASK
    ltr ax

    mov esi, offset pic_setup           # vectors from 0x20, everything masked
1:  lodsw                               # AL: the port, AH: its value
    movzx edx, al
    mov al, ah
    out dx, al
    cmp esi, offset pic_setup_end
    jb 1b
    mov eax, APIC
    mov dword ptr [rax + APIC_SPURIOUS], 0x100 | VECTOR_SPURIOUS

    push USER_DATA
    push PROGRAM_STACK
    push 0x3202                         # IOPL 3, interrupts on
    push USER_CODE
    push offset program
    iretq

pic_setup:
    .byte 0x20, 0x11,  0x21, VECTOR_PIC,  0x21, 0x04,  0x21, 0x01
    .byte 0xa0, 0x11,  0xa1, VECTOR_PIC + 8,  0xa1, 0x02,  0xa1, 0x01
    .byte 0x21, 0xff,  0xa1, 0xff
pic_setup_end:

# Where each vector enters; all below 64 KiB.
entry_points:
    .set vector, 0
    .rept VECTOR_PIC
        .if vector == VECTOR_GP
            .word protection_fault
        .else
            .word exceptions + vector * 4
        .endif
        .set vector, vector + 1
    .endr
    .word interrupt_ignored, interrupt_controller, interrupt_ignored, interrupt_ignored
    .word interrupt_serial, interrupt_ignored, interrupt_ignored, interrupt_ignored
    .word interrupt_ignored, interrupt_ignored, interrupt_ignored, interrupt_ignored
    .word interrupt_controller, interrupt_ignored, interrupt_ignored, interrupt_ignored
    .word interrupt_timer
    .rept VECTORS - VECTOR_TIMER - 1
        .word interrupt_ignored
    .endr

interrupt_ignored:
    iretq

interrupt_timer:
    inc dword ptr [ticks]
    inc dword ptr [events]
    push rax
    mov eax, APIC
    mov dword ptr [rax + APIC_EOI], 0
    pop rax
    iretq

# IRQ 1 and IRQ 12: everything that the keyboard controller has.
interrupt_controller:
    push rax
    push rcx
1:  in al, 0x64
    test al, 1
    jz 3f
    mov ah, FROM_KEYBOARD
    test al, 0x20
    jz 2f
    mov ah, FROM_MOUSE
2:  in al, 0x60
    call enqueue
    jmp 1b
3:  mov al, 0x20
    out 0xa0, al
    out 0x20, al
    pop rcx
    pop rax
    iretq

# IRQ 4: everything that COM1 has.
interrupt_serial:
    push rax
    push rcx
    push rdx
1:  mov edx, COM1 + 2
    in al, dx
    test al, 1
    jnz 3f
    mov edx, COM1 + 5
    in al, dx
    test al, 1
    jz 3f
    mov edx, COM1
    in al, dx
    mov ah, FROM_SERIAL
    call enqueue
    jmp 1b
3:  mov al, 0x20
    out 0x20, al
    pop rdx
    pop rcx
    pop rax
    iretq

# Puts AX into the queue; a full queue drops it. Changes RCX.
enqueue:
    inc dword ptr [events]
    push rbx
    mov ecx, [queue_head]
    lea ebx, [rcx + 1]
    and ebx, QUEUE_LENGTH - 1
    cmp ebx, [queue_tail]
    je 1f
    mov [queue + rcx * 2], ax
    mov [queue_head], ebx
1:  pop rbx
    ret

# What the program may not do in ring 3: a `hlt` asks for a service; and where the processor's IOPL is not honoured, port
# instructions come here too and are done on its behalf.
protection_fault:
    test byte ptr [rsp + 16], 3         # below: the error code, then RIP, CS, RFLAGS, RSP and SS
    jz exception_gp
    push rbx
    push rdx
    mov rbx, [rsp + 24]
    movzx ebx, word ptr [rbx]           # BL: the instruction, BH: its operand or the byte after its prefix
    cmp bl, 0xee
    je port_out_byte
    cmp bl, 0xec
    je port_in_byte
    cmp bl, 0xf4
    je service
    cmp bl, 0xed
    je port_in_long
    cmp bl, 0xef
    je port_out_long
    inc qword ptr [rsp + 24]            # the others have two bytes
    cmp bl, 0x66
    je port_word
    movzx edx, bh
    cmp bl, 0xe4
    je port_in_byte
    cmp bl, 0xe6
    je port_out_byte
    pop rdx
    pop rbx
exception_gp:
    push VECTOR_GP
    jmp exception

port_word:
    cmp bh, 0xed
    je 1f
    out dx, ax
    jmp port_done
1:  in ax, dx
    jmp port_done
port_in_long:
    in eax, dx
    jmp port_done
port_out_long:
    out dx, eax
    jmp port_done
port_in_byte:
    in al, dx
    jmp port_done
port_out_byte:
    out dx, al
port_done:
    pop rdx
    pop rbx
    inc qword ptr [rsp + 8]
    add rsp, 8
    iretq

service:
    pop rdx
    pop rbx
    inc qword ptr [rsp + 8]
    add rsp, 8
    cmp eax, SERVICE_WAIT
    jne 2f
    cmp dword ptr [events], 0
    jne 1f
    sti
    hlt
    cli
1:  mov dword ptr [events], 0
    iretq
2:  cmp eax, SERVICE_TRIPLE_FAULT
    je triple_fault
    cmp eax, SERVICE_BAD_INSTRUCTION
    je bad_instruction
halt:
    cli
    hlt
    jmp halt

# A division by zero without a table of handlers.
triple_fault:
    lidt [no_idt]
    xor ecx, ecx
    div ecx

# Video memory outside the frame buffer is emulated, and KVM's emulator has no popcnt.
bad_instruction:
    mov eax, 0xb8000
    popcnt eax, [rax]

.balign 4
exceptions:
    .set vector, 0
    .rept VECTOR_PIC
        push vector                     # 2 bytes
        jmp short exception_nearby      # 2 bytes
        .set vector, vector + 1
    .endr
exception_nearby:

# Something that cannot happen: says the vector and the five words below it, and stops.
exception:
    mov ebp, 6
    mov esi, offset exception_text
    call kernel_say
1:  pop rbx
    mov ecx, 16
2:  rol rbx, 4
    mov eax, ebx
    and eax, 15
    mov al, [hex_digits + rax]
    mov edx, COM1
    out dx, al
    dec ecx
    jnz 2b
    mov al, ' '
    out dx, al
    dec ebp
    jnz 1b
    jmp halt

kernel_say:
    mov edx, COM1
1:  lodsb
    test al, al
    jz 2f
    out dx, al
    jmp 1b
2:  ret

exception_text:
    .asciz "exception "
hex_digits:
    .ascii "0123456789abcdef"
