/* What is mapped in every address space, in the last 2 MiB of the lower half: our own few pages.
 *
 *   page 0      the stub: what SYSCALL jumps to.  One `out`; where SYSCALL doesn't change the privilege level
 *               it is readable for users, else for the supervisor only
 *   page 1      exception entries, 16 bytes each: one `out`
 *   page 2      IDT      page 3   GDT
 *   page 16...  one for each virtual CPU: its TSS, and the stack of its exceptions (IST 1) at the end
 *
 * All but the stub are for the supervisor, and nothing is writable for users.  No code of ours runs in ring 0 but
 * the `out`s: what happened is read from outside, in the page of the virtual CPU.
 */
#ifndef RUNSC_KVM_SYSTEM_H
#define RUNSC_KVM_SYSTEM_H

#include "mm.h"

#define SYS_PAGE(n) (KV_TASK_SIZE + (n) * KV_PAGE)
#define SYS_STUB SYS_PAGE(0)
#define SYS_ENTRIES SYS_PAGE(1)
#define SYS_IDT SYS_PAGE(2)
#define SYS_GDT SYS_PAGE(3)
#define SYS_FIRST_CPU 16
#define SYS_MOST_CPUS 480

#define ENTRY_SIZE 16
#define VECTORS 32

/* The one port; users may write to it where the stub runs in ring 3. */
#define SYS_PORT 0xb7

#define KERNEL_CS 0x10
#define KERNEL_SS 0x18
#define USER_DS 0x2b
#define USER_CS 0x33
#define TSS_SELECTOR 0x40

#define TSS_IOMAP 104
#define TSS_LIMIT (TSS_IOMAP + 32)

#define FLAG_IF 0x200
#define FLAGS_FIXED 0x2
/* CF PF AF ZF SF TF DF OF NT RF AC ID */
#define FLAGS_USER 0x254dd5ULL

#endif
