/* Orphaned process groups: who is hung up when a process ends, and who is not. */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void got(int s)
{
	char line[] = "signal 0\n";
	line[7] = '0' + s;
	write(1, line, 9);
}

int main(void)
{
	int p[2], status;
	char c;
	struct sigaction a = {.sa_handler = got};
	sigaction(SIGHUP, &a, 0);
	pipe(p);
	alarm(10);
	/* A stopped job in a group of its own, whose parent ends. */
	if (!fork()) {
		if (!fork()) {
			setpgid(0, 0);
			raise(SIGSTOP);
			write(1, "goes on\n", 8);
			write(p[1], "x", 1);
			_exit(0);
		}
		usleep(50000);
		_exit(0);
	}
	wait(0);
	read(p[0], &c, 1);
	/* A stopped child in our own group, while another child ends: nobody is hung up. */
	pid_t stopped = fork();
	if (!stopped) {
		raise(SIGSTOP);
		_exit(4);
	}
	waitpid(stopped, &status, WUNTRACED);
	if (!fork())
		_exit(0);
	wait(0);
	usleep(20000);
	printf("still stopped: %d\n", waitpid(stopped, &status, WNOHANG | WCONTINUED));
	kill(stopped, SIGCONT);
	waitpid(stopped, &status, 0);
	printf("ended with %d\n", WEXITSTATUS(status));
	return 0;
}
