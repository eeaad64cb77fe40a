/* Local sockets: urgent data, SO_PEEK_OFF, control messages cut short, sockets that hold each other; and opens
   with RESOLVE_*. argv[1]: a directory to work in. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <sys/quota.h>
#include <poll.h>
#include <stdint.h>
#include <linux/openat2.h>
#include <linux/fs.h>
#define CALL(what, call) do { errno = 0; long r_ = (long)(call); printf("%s: %ld %s\n", what, r_, \
	r_ == -1 ? strerrorname_np(errno) : "ok"); fflush(stdout); } while (0)
#define O2(name, path, fl, res) do { memset(&how, 0, sizeof how); how.flags = fl; how.resolve = res; \
	long r = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how); \
	printf("openat2 %s: %s\n", name, r < 0 ? strerrorname_np(errno) : "ok"); if (r >= 0) close(r); } while (0)
static volatile int sigs;

static void h(int s)
{
	sigs++;
}

/* Only a message in its own queue holds b; with it goes the end of a pipe. */
static void circle(int listening)
{
	int p[2], sv[2], t[2];
	struct pollfd pf;
	pipe(p);
	socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
	struct msghdr m = {0};
	struct iovec io = {"x", 1};
	char cb[CMSG_SPACE(8)];
	m.msg_iov = &io;
	m.msg_iovlen = 1;
	m.msg_control = cb;
	m.msg_controllen = sizeof cb;
	struct cmsghdr *cm = CMSG_FIRSTHDR(&m);
	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(8);
	int fds[2] = {sv[1], p[1]};
	memcpy(CMSG_DATA(cm), fds, 8);
	CALL("send b to b", sendmsg(sv[0], &m, 0));
	close(p[1]);
	pf.fd = p[0];
	pf.events = POLLIN;
	close(sv[0]);
	CALL("alive", poll(&pf, 1, 0));
	close(sv[1]);
	socketpair(AF_UNIX, SOCK_STREAM, 0, t);
	close(t[0]);
	close(t[1]);
	CALL("collected", poll(&pf, 1, 2000));
	printf("%x\n", pf.revents);
	close(p[0]);
}

int main(int argc, char **argv)
{
	char buf[200];
	struct open_how how;
	int sv[2];
	chdir(argv[1]);
	int fd = open("f", O_RDWR | O_CREAT, 0644);
	mkdir("d", 0755);
	socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
	/* openat2 */
	symlink("f","link"); symlink("/etc","abs"); symlink("../x","up"); symlink("/proc/self/fd/0","magic");
	O2("plain","f",O_RDONLY,0); O2("nosym","link",O_RDONLY,RESOLVE_NO_SYMLINKS); O2("nosym nofollow path","link",O_PATH|O_NOFOLLOW,RESOLVE_NO_SYMLINKS);
	O2("nomagic","magic",O_RDONLY,RESOLVE_NO_MAGICLINKS); O2("beneath","f",O_RDONLY,RESOLVE_BENEATH); O2("beneath abs","/etc",O_RDONLY,RESOLVE_BENEATH); O2("beneath link","abs",O_RDONLY,RESOLVE_BENEATH); O2("beneath up","..",O_RDONLY,RESOLVE_BENEATH); O2("beneath d/..","d/../f",O_RDONLY,RESOLVE_BENEATH);
	O2("inroot abs","/f",O_RDONLY,RESOLVE_IN_ROOT); O2("inroot up","../../f",O_RDONLY,RESOLVE_IN_ROOT); O2("inroot link","abs",O_RDONLY,RESOLVE_IN_ROOT); O2("both","f",0,RESOLVE_IN_ROOT|RESOLVE_BENEATH);
	O2("noxdev","/proc/version",O_RDONLY,RESOLVE_NO_XDEV); O2("noxdev ok","f",O_RDONLY,RESOLVE_NO_XDEV); O2("cached","f",O_RDONLY,RESOLVE_CACHED); O2("cached creat","new",O_CREAT|O_RDWR,RESOLVE_CACHED); O2("badres","f",0,0x100); O2("badflags","f",0x80000000ULL,0);
	how.flags=O_RDONLY; how.mode=0600; how.resolve=0; CALL("mode without creat",syscall(SYS_openat2,AT_FDCWD,"f",&how,sizeof how)); how.mode=0; CALL("size small",syscall(SYS_openat2,AT_FDCWD,"f",&how,8)); CALL("size 0",syscall(SYS_openat2,AT_FDCWD,"f",&how,0));
	struct {struct open_how h; uint64_t x;} big={{O_RDONLY},1}; CALL("big nonzero",syscall(SYS_openat2,AT_FDCWD,"f",&big,sizeof big)); big.x=0; CALL("big size",syscall(SYS_openat2,AT_FDCWD,"f",&big,5000));
	how.flags=O_CREAT|O_RDWR; how.mode=010000|0600; CALL("bad mode bits",syscall(SYS_openat2,AT_FDCWD,"new2",&how,sizeof how));
	how.flags=O_PATH|O_RDWR;how.mode=0; CALL("path rdwr",syscall(SYS_openat2,AT_FDCWD,"f",&how,sizeof how));
	/* unix sockets */
	int sq[2]; socketpair(AF_UNIX,SOCK_SEQPACKET,0,sq); signal(SIGPIPE,h); close(sq[1]); CALL("seqpacket dead",write(sq[0],"x",1)); printf("sigpipe %d\n",sigs);
	int dg[2]; socketpair(AF_UNIX,SOCK_DGRAM,0,dg); close(dg[1]); CALL("dgram dead",write(dg[0],"x",1)); printf("sigpipe %d\n",sigs);
	write(sv[0],"abcdef",6); CALL("peek waitall nowait",recv(sv[1],buf,4,MSG_PEEK|MSG_WAITALL));
	if(fork()==0){usleep(50000); write(sv[0],"ghij",4); _exit(0);} CALL("peek waitall",recv(sv[1],buf,10,MSG_PEEK|MSG_WAITALL)); wait(0); CALL("real",recv(sv[1],buf,100,0));
	int one=2; CALL("peek_off set",setsockopt(sv[1],SOL_SOCKET,SO_PEEK_OFF,&one,4)); write(sv[0],"012345",6); memset(buf,0,20); CALL("peek",recv(sv[1],buf,2,MSG_PEEK)); printf("%s\n",buf); CALL("peek",recv(sv[1],buf,2,MSG_PEEK)); printf("%s\n",buf); CALL("peek",recv(sv[1],buf,2,MSG_PEEK|MSG_DONTWAIT)); CALL("read",recv(sv[1],buf,3,0)); socklen_t l=4; getsockopt(sv[1],SOL_SOCKET,SO_PEEK_OFF,&one,&l); printf("off %d\n",one); one=-1; setsockopt(sv[1],SOL_SOCKET,SO_PEEK_OFF,&one,4); recv(sv[1],buf,100,0);
	CALL("oob",send(sv[0],"xyz",3,MSG_OOB)); CALL("oob recv",recv(sv[1],buf,10,MSG_OOB)); printf("%c\n",buf[0]); CALL("rest",recv(sv[1],buf,10,0)); CALL("oob none",recv(sv[1],buf,1,MSG_OOB|MSG_DONTWAIT));
	send(sv[0],"ab",2,0); send(sv[0],"c",1,MSG_OOB); send(sv[0],"de",2,0); int mark; ioctl(sv[1],SIOCATMARK,&mark); printf("mark %d\n",mark); CALL("before",recv(sv[1],buf,10,0)); ioctl(sv[1],SIOCATMARK,&mark); printf("mark %d\n",mark); struct pollfd pf={sv[1],POLLIN|POLLPRI}; poll(&pf,1,0); printf("poll %x\n",pf.revents); CALL("oob",recv(sv[1],buf,10,MSG_OOB)); CALL("after",recv(sv[1],buf,10,0));
	{ int dgp[2]; socketpair(AF_UNIX,SOCK_DGRAM,0,dgp); CALL("dgram oob",send(dgp[0],"x",1,MSG_OOB)); CALL("dgram oob r",recv(dgp[0],buf,1,MSG_OOB|MSG_DONTWAIT)); }
	/* cmsg truncation */
	{ struct msghdr m={0}; struct iovec io={"x",1}; char cb[CMSG_SPACE(8*4)]; m.msg_iov=&io;m.msg_iovlen=1;m.msg_control=cb;m.msg_controllen=CMSG_SPACE(4*4); struct cmsghdr*cm=CMSG_FIRSTHDR(&m); cm->cmsg_level=SOL_SOCKET;cm->cmsg_type=SCM_RIGHTS;cm->cmsg_len=CMSG_LEN(16); int fds[4]={0,1,2,fd}; memcpy(CMSG_DATA(cm),fds,16); CALL("sendmsg",sendmsg(sv[0],&m,0)); m.msg_controllen=CMSG_LEN(2*4+3); memset(cb,0,sizeof cb); io.iov_base=buf; CALL("recvmsg",recvmsg(sv[1],&m,0)); printf("flags %x len %ld cmsg %ld\n",m.msg_flags,(long)m.msg_controllen,(long)cm->cmsg_len);
	m.msg_controllen=CMSG_SPACE(4*4); cm->cmsg_level=SOL_SOCKET;cm->cmsg_type=SCM_RIGHTS;cm->cmsg_len=CMSG_LEN(16);memcpy(CMSG_DATA(cm),fds,16); sendmsg(sv[0],&m,0); m.msg_controllen=CMSG_LEN(0); CALL("recvmsg",recvmsg(sv[1],&m,0)); printf("flags %x len %ld\n",m.msg_flags,(long)m.msg_controllen);
	int on=1; setsockopt(sv[1],SOL_SOCKET,SO_PASSCRED,&on,4); write(sv[0],"x",1); m.msg_controllen=CMSG_LEN(6); CALL("recvmsg",recvmsg(sv[1],&m,0)); printf("flags %x len %ld cmsg %ld\n",m.msg_flags,(long)m.msg_controllen,(long)cm->cmsg_len); }
	circle(0);
	circle(1);
	return 0;
}
