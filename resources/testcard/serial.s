# COM1: characters, texts, numbers. Reports are lines that end with CR and LF.

.bss
serial_room:    .skip 1                 # bytes that the transmitter's FIFO certainly has room for

.text
# Says the character in DIL. Changes nothing but RAX, RDX.
say_character:
    cmp byte ptr [serial_room], 0
    jne 2f
    mov edx, COM1 + 5
1:  in al, dx
    test al, 0x20
    jz 1b
    mov byte ptr [serial_room], 16
2:  dec byte ptr [serial_room]
    mov edx, COM1
    mov eax, edi
    out dx, al
    ret

# Says the text at RDI, which ends with a zero.
say_text:
    push rbx
    mov rbx, rdi
1:  movzx edi, byte ptr [rbx]
    inc rbx
    test edi, edi
    jz 2f
    call say_character
    jmp 1b
2:  pop rbx
    ret

# Says the text at RDI and ends the line.
say_line:
    call say_text
say_end:
    mov edi, offset text_end
    jmp say_text

# Says the number in EDI, decimal.
say_number:
    sub rsp, 24
    mov eax, edi
    mov rdi, rsp
    call format_number
    mov rdi, rsp
    call say_text
    add rsp, 24
    ret

# Says the byte in DIL as two hexadecimal digits.
say_hex:
    push rdi
    movzx edi, dil
    shr edi, 4
    movzx edi, byte ptr [hex_digits + rdi]
    call say_character
    pop rdi
    and edi, 15
    movzx edi, byte ptr [hex_digits + rdi]
    jmp say_character

# Says the text at RDI, the number in ESI, and ends the line.
say_number_line:
    push rsi
    call say_text
    pop rdi
    call say_number
    jmp say_end

# Writes EAX, decimal, to RDI, with a zero behind it. Returns its end in RDI (where the zero is).
format_number:
    mov esi, 10
    xor ecx, ecx
1:  xor edx, edx
    div esi
    push rdx
    inc ecx
    test eax, eax
    jnz 1b
2:  pop rax
    add al, '0'
    stosb
    dec ecx
    jnz 2b
    mov byte ptr [rdi], 0
    ret

# From now on a byte that comes in is an interrupt.
serial_interrupts:
    mov edx, COM1 + 1
    mov al, 1
    out dx, al
    ret

text_end:
    .asciz "\r\n"
