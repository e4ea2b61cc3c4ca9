/* Start-up code for the MPS2 boards of QEMU: memory, a timer that counts instructions, the depth of the stack, output.

   With -icount shift=6 every instruction takes 64 ns of the board's time, and its timer ticks every 40 ns: 32 bits of
   ticks are 2.7 billion instructions, and one turn of the timer is seen by the interrupt that it asks for. */
#include "board.h"

#include <stdint.h>

extern uint32_t __data_load[], __data_start[], __data_end[], __bss_start[], __bss_end[], __stack_low[], __stack_top[];
extern int main(void);

#define TIMER ((volatile uint32_t *)0x40000000)
#define PAINT 0xA5A5A5A5u
#define TICKS_PER_5 8u /* ticks for five instructions */

static uint64_t ticks;
static uint32_t started, runs, deepest;

static uint32_t semihosting(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void write_number(const char *name, uint32_t value) {
    char digits[12], *p = digits + sizeof digits - 1;
    *p = 0;
    *--p = '\n';
    do *--p = (char)('0' + value % 10), value /= 10;
    while (value);
    semihosting(0x04, name);
    semihosting(0x04, p);
}

static uint32_t *stack_pointer(void) {
    uint32_t *sp;
    __asm__ volatile("mov %0, sp" : "=r"(sp));
    return sp;
}

void board_start(void) {
    for (uint32_t *p = __stack_low; p < stack_pointer() - 16; p++) *p = PAINT;
    TIMER[0] = 0;
    TIMER[2] = 0xFFFFFFFFu;
    TIMER[1] = 0xFFFFFFFFu;
    TIMER[3] = 1;
    TIMER[0] = 1 | 8;
    started = TIMER[1];
}

void board_stop(void) {
    const uint32_t now = TIMER[1];
    ticks += started - now + ((uint64_t)(TIMER[3] & 1) << 32);
    runs++;
    uint32_t *p = __stack_low;
    while (p < stack_pointer() && *p == PAINT) p++;
    const uint32_t used = (uint32_t)((char *)__stack_top - (char *)p);
    if (used > deepest) deepest = used;
}

void board_report(int differ) {
    write_number("differ ", (uint32_t)differ);
    write_number("instructions ", (uint32_t)(ticks * 5 / TICKS_PER_5 / runs));
    write_number("stack ", deepest);
}

void reset(void) {
    for (uint32_t *from = __data_load, *to = __data_start; to < __data_end;) *to++ = *from++;
    for (uint32_t *to = __bss_start; to < __bss_end;) *to++ = 0;
    const uint32_t code[2] = {0x20026, (uint32_t)main()};
    semihosting(0x20, code);
    for (;;) {
    }
}

static void fault(void) {
    semihosting(0x04, "fault\n");
    const uint32_t code[2] = {0x20026, 3};
    semihosting(0x20, code);
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    __stack_top, (const void *)reset, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault, (const void *)fault,
};
