# The card's live fields, in linear modes and in text mode: what is typed, the pointer's place, the time.

.set TYPED_LENGTH, 26
.set TYPED_FIELD, TYPED_LENGTH + 2      # the width in characters
.set POINTER_FIELD, 20
.set CLOCK_FIELD, 18
.set TYPED_Y, 375                       # hundredths of a unit below the centre;
.set POINTER_Y, 500                     # in text mode, rows times 25
.set CLOCK_Y, 575

.bss
.balign 4
typed_length:   .skip 4
typed:          .skip TYPED_LENGTH + 2
scratch:        .skip 64
field:          .skip 64

.text
# What has been typed, or an invitation to type.
card_typed:
    mov edi, offset scratch
    mov esi, offset typed
    mov ecx, [typed_length]
    rep movsb
    mov eax, ' '
    mov ecx, '_'
    cmp byte ptr [card_kind], CARD_TEXT # has a cursor of its own
    cmovne eax, ecx
    mov [rdi], ax                       # and the end
    mov edi, offset scratch
    mov esi, TYPED_Y
    mov edx, TYPED
    mov ecx, TYPED_FIELD
    xor r8d, r8d
    cmp dword ptr [typed_length], 0
    jne card_field
    mov edi, offset text_type
    mov edx, GREY
    inc r8d
    jmp card_field

# Where the pointer is.
card_pointer:
    mov edi, offset scratch
    mov esi, offset text_pointer
    call append
    mov eax, [pointer_x]
    call format_number
    mov word ptr [rdi], 0x202c          # comma, blank
    add edi, 2
    mov eax, [pointer_y]
    call format_number
    mov edi, offset scratch
    mov esi, POINTER_Y
    mov edx, WHITE
    mov ecx, POINTER_FIELD
    mov r8d, 1
    jmp card_field

# The time since the start.
card_clock:
    mov edi, offset scratch
    mov esi, offset text_running
    call append
    mov eax, [seconds]
    xor edx, edx
    mov ecx, 3600
    div ecx
    push rdx
    call format_two_digits
    mov byte ptr [rdi], ':'
    inc edi
    pop rax
    xor edx, edx
    mov ecx, 60
    div ecx
    push rdx
    call format_two_digits
    mov byte ptr [rdi], ':'
    inc edi
    pop rax
    call format_two_digits
    mov byte ptr [rdi], 0
    mov edi, offset scratch
    mov esi, CLOCK_Y
    mov edx, WHITE
    mov ecx, CLOCK_FIELD
    mov r8d, 1

# Shows the text at RDI, ESI below the centre, in colour EDX, in a field of ECX characters, in its middle if R8D is not 0.
card_field:
    cmp byte ptr [card_kind], CARD_NONE
    je 3f
    push rbx
    push rbp
    mov ebx, esi
    mov ebp, edx
    mov rsi, rdi
    call text_length
    mov edx, eax                        # the text's length
    mov edi, offset field
    push rcx
    mov al, ' '
    rep stosb
    mov byte ptr [rdi], 0
    pop rcx
    mov edi, offset field
    test r8d, r8d
    jz 1f
    sub ecx, edx
    jbe 1f
    shr ecx, 1
    add edi, ecx
1:  mov ecx, edx
    rep movsb
    mov edi, offset field
    mov esi, ebx
    mov edx, ebp
    cmp byte ptr [card_kind], CARD_TEXT
    je 2f
    push rsi
    call pointer_hide
    pop rsi
    mov edi, offset field
    mov edx, ebp
    mov ecx, INK
    call card_label
    call pointer_show
    pop rbp
    pop rbx
    ret
2:  call text_card_field
    pop rbp
    pop rbx
3:  ret

# Copies the text at RSI to RDI, without its end.
append:
    lodsb
    test al, al
    jz 1f
    stosb
    jmp append
1:  ret

# Writes EAX (0 to 99) as two digits to RDI; more than that as more.
format_two_digits:
    cmp eax, 10
    jae format_number
    mov byte ptr [rdi], '0'
    inc edi
    jmp format_number

# Writes the mode to RDI: width, height, depth, with the character SIL between them.
format_mode:
    push rbx
    mov ebx, esi
    mov eax, [screen_width]
    call format_number
    mov [rdi], bl
    inc edi
    mov eax, [screen_height]
    call format_number
    mov [rdi], bl
    inc edi
    mov eax, [screen_depth]
    call format_number
    pop rbx
    ret

text_type:      .asciz "type something"
text_pointer:   .asciz "pointer "
text_running:   .asciz "running "
