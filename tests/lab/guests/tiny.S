# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

# A guest in one boot sector. It tells on the serial port what PCI functions
# it sees, then serves the hotplug registers of QEMU's ACPI (0xcc0): it looks
# again after an insertion and ejects what the host asks for.
#
# A line of its report, all in hexadecimal, read from configuration space:
#   PCI <address as for port cf8> <00> <2c> <40> <44> <48> <4c> <50>
#   VPD <dwords 0 to 3c of the vital product data of the function above>

.code16
.globl _start
_start:
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        movw    $0x7c00, %sp
        cld
        sti
        call    scan
        movw    $up, %si
        call    puts
main:
        xorl    %ebx, %ebx
1:      movw    $0xcd0, %dx             # choose the bus
        movl    %ebx, %eax
        outl    %eax, %dx
        movw    $0xcc0, %dx             # what was inserted there
        inl     %dx, %eax
        testl   %eax, %eax
        jz      3f
        movw    $plug, %si
        call    puts
        pushl   %ebx
        call    scan
        popl    %ebx
3:      movw    $0xcc4, %dx             # what shall be ejected
        inl     %dx, %eax
        testl   %eax, %eax
        jz      2f
        movw    $eject, %si
        call    puts
        movw    $0xcc8, %dx
        outl    %eax, %dx
2:      incl    %ebx
        cmpb    $64, %bl
        jb      1b
        hlt
        jmp     main

# Tell about every function 0 of the first 32 buses.
scan:
        movl    $0x80000000, %ebp
1:      xorb    %bl, %bl
        call    read
        incw    %ax
        jz      4f
        movw    $pci, %si
        call    puts
        movl    %ebp, %eax
        call    hex
        movw    $regs, %si
2:      lodsb
        testb   %al, %al
        js      3f
        movb    %al, %bl
        call    read
        call    hex
        jmp     2b
3:      call    newline
        movb    $0x80, %bl              # capability: vital product data?
        call    read
        cmpb    $3, %al
        jne     4f
        call    vpd
4:      addl    $0x800, %ebp
        cmpl    $0x80200000, %ebp
        jb      1b
        ret

vpd:
        movw    $vital, %si
        call    puts
        xorw    %cx, %cx
1:      movb    $0x80, %bl
        call    select
        movw    $0xcfe, %dx             # its address register
        movw    %cx, %ax
        outw    %ax, %dx
        movb    $0x84, %bl
        call    read
        call    hex
        addb    $4, %cl
        cmpb    $0x48, %cl
        jb      1b
newline:
        movb    $'\n', %al
        jmp     putc

# Register %bl of the function at %ebp: choose it; read it into %eax.
select:
        movl    %ebp, %eax
        movb    %bl, %al
        movw    $0xcf8, %dx
        outl    %eax, %dx
        ret
read:
        call    select
        movw    $0xcfc, %dx
        inl     %dx, %eax
        ret

hex:                                    # eight digits of %eax and a space
        movw    $8, %di
1:      roll    $4, %eax
        pushl   %eax
        andb    $15, %al
        addb    $'0', %al
        cmpb    $'9', %al
        jbe     2f
        addb    $39, %al
2:      call    putc
        popl    %eax
        decw    %di
        jnz     1b
        movb    $' ', %al
putc:
        pushw   %dx
        pushw   %ax
1:      movw    $0x3fd, %dx
        inb     %dx, %al
        testb   $0x20, %al
        jz      1b
        popw    %ax
        movw    $0x3f8, %dx
        outb    %al, %dx
        popw    %dx
        ret
puts:
        pushl   %eax
1:      lodsb
        testb   %al, %al
        jz      2f
        call    putc
        jmp     1b
2:      popl    %eax
        ret

regs:   .byte   0x00, 0x2c, 0x40, 0x44, 0x48, 0x4c, 0x50, 0x80
pci:    .asciz  "PCI "
vital:  .asciz  "VPD "
up:     .asciz  "GUEST-UP\n"
plug:   .asciz  "PLUG\n"
eject:  .asciz  "EJECT\n"
.org 510
.word 0xaa55
