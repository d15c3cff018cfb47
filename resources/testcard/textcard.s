# The card in text mode 3: every colour on every background, blinking, and the same fields as in linear modes.

.set COLUMNS, 80
.set CELL_WIDTH, 4                      # of the table of colours
.set TABLE_ROW, 4
.set TABLE_COLUMN, (COLUMNS - 16 * CELL_WIDTH) / 2

.text
# Sets text mode and draws the card in it.
text_card_draw:
    push rbx
    push rbp
    call video_text
    mov byte ptr [card_kind], CARD_TEXT
    mov dword ptr [storm_kind], STORM_NONE
    mov byte ptr [pointer_shown], 0
    mov ebx, offset text_card_lines
1:  mov edi, [rbx]
    movzx esi, byte ptr [rbx + 4]
    movzx edx, byte ptr [rbx + 5]
    call text_card_line
    add ebx, 8
    cmp ebx, offset text_card_lines_end
    jb 1b

    xor ebx, ebx                        # the attribute: blinking off
2:  mov eax, ebx
    shr eax, 4
    add eax, TABLE_ROW
    imul eax, eax, COLUMNS
    mov ecx, ebx
    and ecx, 15
    lea eax, [rax + rcx * CELL_WIDTH + TABLE_COLUMN]
    lea edi, [TEXT_MEMORY + rax * 2]
    mov ah, bl
    mov al, ' '
    stosw
    mov ecx, ebx
    shr ecx, 4
    mov al, [hex_digits + rcx]
    stosw
    mov ecx, ebx
    and ecx, 15
    mov al, [hex_digits + rcx]
    stosw
    mov al, ' '
    stosw
    inc ebx
    cmp ebx, 0x80
    jb 2b

    call card_typed
    call card_pointer
    call card_clock
    pop rbp
    pop rbx
    ret

# Writes the text at RDI into the middle of row ESI with attribute DL.
text_card_line:
    call text_length
    mov ecx, COLUMNS
    sub ecx, eax
    shr ecx, 1
    imul esi, esi, COLUMNS
    add ecx, esi
    mov rsi, rdi
    lea edi, [TEXT_MEMORY + rcx * 2]
    mov ah, dl
1:  lodsb
    test al, al
    jz 2f
    stosw
    jmp 1b
2:  ret

# A field of the card: the text at RDI, ESI / 25 rows down. The cursor goes where the field that is typed into has its own.
text_card_field:
    mov eax, esi
    xor edx, edx
    mov ecx, 25
    div ecx
    mov esi, eax
    mov edx, 0x0f
    cmp esi, TYPED_Y / 25
    jne text_card_line
    call text_card_line
    mov ecx, COLUMNS - TYPED_FIELD
    shr ecx, 1
    add ecx, [typed_length]
    add ecx, TYPED_Y / 25 * COLUMNS
    mov edx, 0x3d4
    mov eax, ecx                        # AH: the high byte
    mov al, 0x0e
    out dx, ax
    shl ecx, 8
    mov eax, ecx
    mov al, 0x0f
    out dx, ax
    ret

# The text, its row, its attribute.
.balign 8
text_card_lines:
    .long text_card_name
    .byte 1, 0x0e, 0, 0
    .long text_card_mode
    .byte 2, 0x07, 0, 0
    .long text_card_blinks
    .byte 13, 0x9f, 0, 0
    .long text_f4_back
    .byte 18, 0x08, 0, 0
text_card_lines_end:

text_card_name:     .asciz "L O D G E"
text_card_mode:     .asciz "text mode, 80 by 25 characters, 16 colours"
text_card_blinks:   .asciz " this line blinks "
text_f4_back:       .asciz "F4 goes back to graphics"
