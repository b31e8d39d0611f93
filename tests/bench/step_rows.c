/* Single-steps a program and writes, per instruction, 18 registers in the order of arch.REGISTERS and 256 bytes
 * of stack from rsp upwards: register and stack contents of real code, as a kprobe per instruction sees them.
 * Usage: step_rows COUNT SKIP PROGRAM [ARGUMENT...] */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long count, skip, step;
	int status;
	pid_t child;

	if (argc < 4)
		return 2;
	count = atol(argv[1]);
	skip = atol(argv[2]);
	child = fork();
	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execv(argv[3], argv + 3);
		_exit(1);
	}
	waitpid(child, &status, 0);
	for (step = 0; step < count + skip; step++) {
		struct user_regs_struct r;

		if (ptrace(PTRACE_SINGLESTEP, child, 0, 0))
			break;
		waitpid(child, &status, 0);
		if (!WIFSTOPPED(status))
			break;
		if (step < skip)
			continue;
		ptrace(PTRACE_GETREGS, child, 0, &r);
		uint64_t row[18 + 32] = { r.rax, r.rdx, r.rcx, r.rbx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8,
					  r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rip, r.eflags };
		struct iovec to = { row + 18, 256 }, from = { (void *)r.rsp, 256 };

		process_vm_readv(child, &to, 1, &from, 1, 0);
		fwrite(row, sizeof(row), 1, stdout);
	}
	kill(child, SIGKILL);
	return 0;
}
