/* What the stub's code (stub.c, assembly) and the engine agree on: offsets in a slot and in the control
 * page, and the values of a slot's state word. Included by both, so constants only. */
#ifndef RUNSC_SYSTRAP_STUB_H
#define RUNSC_SYSTRAP_STUB_H

/* The state word: who may act. The stub waits while it holds what the stub itself stored. */
#define ST_EVENT 1  /* stub: a signal frame is in place */
#define ST_GO 2     /* kernel: return to the guest */
#define ST_CALL 3   /* kernel: make one host call (S_CALL) */
#define ST_DONE 4   /* stub: the command's result is there */
#define ST_THREAD 5 /* kernel: clone a thread */
#define ST_FORK 6   /* kernel: clone a process */
#define ST_CAS 7    /* kernel: compare and exchange a guest word */
#define ST_EXIT 8   /* kernel: end this thread */
#define ST_TRAP 9   /* kernel: make the call that came through a thunk again, as a trap */

/* A slot: its header. The guest can write all of it. */
#define S_STATE 0    /* u32, futex */
#define S_SLEEPING 4 /* u32: the stub is in (or on the way to) futex(2) */
#define S_CPU 8      /* u32: where the stub was last seen */
#define S_SIGNO 12   /* u32 */
#define S_SP 16      /* u64: address of the signal frame */
#define S_FS 24      /* u64 */
#define S_GS 32      /* u64 */
#define S_FLAGS 40   /* u32: bit 0: load FS base, bit 1: load GS base on return */
#define S_SKIP 44    /* u32: spins to leave out */
#define S_BACKOFF 48 /* u32 */
#define S_TID 52     /* u32: CLONE_CHILD_CLEARTID's word */
#define S_PIDFD 56   /* i32: where clone puts a new process's pidfd */
#define S_CALL 64    /* u64[7]: number and arguments */
#define S_RESULT 120 /* u64 */
#define S_FAILED 128 /* u64: compare-exchange faulted */
#define S_FORK 136   /* u64[4]: region, length, descriptor, child's stack pointer */
/* Copies: what the stub has taken of guest memory ahead of the kernel's asking, and what it is to put there
 * before it goes on. */
#define S_ARGS 176   /* u64[6]: the call's arguments */
#define S_COPIED 224 /* u32[2]: bytes copied; 0: not, or not all */
#define S_PLAN 232   /* u32: the plan that was followed (C_AHEAD) */
#define S_ROOM 236   /* u32: copies end at most so far into the slot */
#define S_NOUT 240   /* u32: entries at S_OUT */
#define S_OUT 256    /* {u64 address, u32 length, u32 offset in the slot} each */
#define OUT_MAX 8
/* A call that came through a thunk (patch.c): what is restored afterwards, with S_ARGS. */
#define S_SAVED 384  /* u64[6]: rbx, rbp, r12 to r15 */
#define S_TAIL 432   /* u64: where in the thunk it goes on */
#define S_NR 440     /* u32 */
#define S_SELF 448   /* u64: the slot's own address: GS base is compared with it */
/* Calls answered without the kernel. */
#define S_VALID 456  /* u32: a bit for each answer that is there */
#define S_ANSWER 460 /* u32[13] */
#define ANSWERS 13
#define S_BUFFER 512
#define S_FIRST_ROOM 4096
#define S_BUFFER_SIZE (S_FIRST_ROOM - S_BUFFER)
#define S_ALL_ROOM 73728 /* 64 KiB and some small change */
/* The slot ends with the alternate signal stack. */

/* The control page: one for all stubs, which see it read-only. */
#define C_SLEEPING 0 /* u32: the kernel's loop sleeps, or is about to */
#define C_CPU 4      /* u32: where it was last seen */
#define C_EVENTFD 8  /* u32 */
#define C_PARENT 12  /* u32: what getppid(2) answers while the kernel lives */
#define C_ONE 16     /* u64: 1 */
#define C_SPIN 24    /* u64: how long to spin, in TSC ticks */
#define C_PATIENCE 32 /* struct timespec: how long to sleep before looking for the kernel */
#define C_MASK 48    /* u64: -slot size */
#define C_TOP 56     /* u64: guest addresses end here */
#define C_ANSWERS 512 /* u8[512]: which of S_ANSWER a call's answer is; ANSWER_YIELD: sched_yield(2); 0: none */
#define ANSWER_YIELD 255
#define C_AHEAD 1024 /* u32[AHEAD_CALLS]: for each system call, up to two ranges to copy, 16 bits each */
#define AHEAD_CALLS 512

/* A range: bits 0-2: the argument that is its address; 3-4: the kind. */
#define AHEAD_FIXED 1   /* bits 5-15: its length */
#define AHEAD_STRING 2  /* up to AHEAD_STRING_MAX bytes, within the page */
#define AHEAD_COUNTED 3 /* bits 5-7: the argument that counts, 8-15: times so many bytes */
#define AHEAD_STRING_MAX 256
#define AHEAD_COUNT_MAX 65536

#define STUB_PAGE 4096
/* Thunks (patch.c): patched call sites jump there, by a table at a low address. */
#define THUNK_SIZE 64
#define THUNK_RESTART 5 /* the call's number is in eax */
#define THUNK_TRAP 20   /* a system call instruction of its own */
#define THUNK_TAIL 22   /* the call is made */
#define THUNK_LEAVE 28
#define THUNK_RETURN 34 /* u64: where to go back */

#define STUB_QUIET 64 /* so many bytes of int3 before the code */
/* Sent by tgkill(2) to stop a computing guest. Not a real-time signal: those queue up. */
#define STUB_INTERRUPT 23 /* SIGURG */

#endif
