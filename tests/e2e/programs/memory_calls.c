/* Memory: what is refused, counted, shared and told, call by call. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/stat.h>
#include <unistd.h>
#define CALL(what, call) do { errno = 0; long r_ = (long)(call); printf("%s: %ld %s\n", what, r_, r_ == -1 ? strerrorname_np(errno) : "ok"); fflush(stdout);} while (0)
#define DONE(what, call) do { errno = 0; long r_ = (long)(call); printf("%s: %s\n", what, r_ == -1 ? strerrorname_np(errno) : "ok"); fflush(stdout);} while (0)
#define P 4096
static sigjmp_buf jb; static volatile int sc, sn;
static void h(int s, siginfo_t*i, void*c){ sn=s; sc=i->si_code; siglongjmp(jb,1);} 
#define TRY(what, e) do{ sn=0; if(!sigsetjmp(jb,1)){ e; printf("%s: fine\n",what);} else printf("%s: signal %d code %d\n",what,sn,sc); fflush(stdout);}while(0)
int main(int c,char**v){
	struct sigaction sa={.sa_sigaction=h,.sa_flags=SA_SIGINFO|SA_ONSTACK};
	sigaction(SIGSEGV,&sa,0);
	sigaction(SIGBUS,&sa,0);
	char*a=mmap(0,8*P,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0);
	unsigned char vec[16];
	/* pkeys */
	CALL("pkey_alloc bad",syscall(SYS_pkey_alloc,1,0));
	CALL("pkey_alloc rights",syscall(SYS_pkey_alloc,0,4));
	CALL("pkey_mprotect -1",syscall(SYS_pkey_mprotect,a,P,3,-1));
	CALL("pkey_mprotect 99",syscall(SYS_pkey_mprotect,a,P,3,99));
	/* numa */
	unsigned long mask=1;
	int mode=9;
	CALL("get_mempolicy",syscall(SYS_get_mempolicy,&mode,&mask,64,0,0));
	printf("%d %lx\n",mode,mask);
	CALL("get_mempolicy node",syscall(SYS_get_mempolicy,&mode,0,0,a,3));
	printf("%d\n",mode);
	CALL("get_mempolicy allowed",syscall(SYS_get_mempolicy,0,&mask,64,0,4));
	printf("%lx\n",mask);
	CALL("get_mempolicy bad",syscall(SYS_get_mempolicy,0,0,0,0,8));
	CALL("get addr w/o flag",syscall(SYS_get_mempolicy,&mode,0,0,a,0));
	CALL("get small",syscall(SYS_get_mempolicy,&mode,&mask,0,0,4));
	CALL("get allowed|addr",syscall(SYS_get_mempolicy,0,&mask,64,a,6));
	mask=1;
	CALL("set bind",syscall(SYS_set_mempolicy,2,&mask,2));
	CALL("set bind",syscall(SYS_set_mempolicy,2,&mask,64));
	CALL("get",syscall(SYS_get_mempolicy,&mode,&mask,64,0,0));
	printf("%d %lx\n",mode,mask);
	mask=2;
	CALL("set node1",syscall(SYS_set_mempolicy,2,&mask,64));
	mask=3;
	CALL("set node0,1",syscall(SYS_set_mempolicy,2,&mask,64));
	CALL("set pref none",syscall(SYS_set_mempolicy,1,0,0));
	CALL("get",syscall(SYS_get_mempolicy,&mode,&mask,64,0,0));
	printf("%d %lx\n",mode,mask);
	CALL("set inter",syscall(SYS_set_mempolicy,3,0,0));
	CALL("set bad",syscall(SYS_set_mempolicy,9,0,0));
	CALL("set bad flag",syscall(SYS_set_mempolicy,0x1000,0,0));
	CALL("set default mask",syscall(SYS_set_mempolicy,0,&mask,64));
	mask=0;
	CALL("set default 0mask",syscall(SYS_set_mempolicy,0,&mask,64));
	CALL("local",syscall(SYS_set_mempolicy,4,0,0));
	CALL("get",syscall(SYS_get_mempolicy,&mode,&mask,64,0,0));
	printf("%d %lx\n",mode,mask);
	CALL("set default",syscall(SYS_set_mempolicy,0,0,0));
	CALL("set efault",syscall(SYS_set_mempolicy,2,8,64));
	CALL("set too long",syscall(SYS_set_mempolicy,2,&mask,100000));
	mask=1;
	CALL("mbind",syscall(SYS_mbind,a,P,2,&mask,64,0));
	CALL("get a",syscall(SYS_get_mempolicy,&mode,&mask,64,a,2));
	printf("%d %lx\n",mode,mask);
	CALL("get a+p",syscall(SYS_get_mempolicy,&mode,&mask,64,a+P,2));
	printf("%d %lx\n",mode,mask);
	CALL("mbind unaligned",syscall(SYS_mbind,a+1,P,2,&mask,64,0));
	CALL("mbind 0",syscall(SYS_mbind,a,0,0,0,0,0));
	CALL("mbind hole",syscall(SYS_mbind,16*P,P,0,0,0,0));
	CALL("mbind flags",syscall(SYS_mbind,a,P,0,0,0,16));
	CALL("mbind move",syscall(SYS_mbind,a,P,0,0,0,2));
	CALL("mbind moveall",syscall(SYS_mbind,a,P,0,0,0,4));
	CALL("mbind strict default", syscall(SYS_mbind,a,P,0,0,0,1));
	CALL("get hole",syscall(SYS_get_mempolicy,&mode,&mask,64,16*P,2));
	CALL("migrate",syscall(SYS_migrate_pages,0,64,&mask,&mask));
	CALL("migrate self",syscall(SYS_migrate_pages,getpid(),64,&mask,&mask));
	CALL("migrate no",syscall(SYS_migrate_pages,999999,64,&mask,&mask));
	mask=2;
	CALL("migrate node1",syscall(SYS_migrate_pages,0,64,&mask,&mask));
	void*pg[3]={a,a+P,(void*)(16*P)};
	int nodes[3]={0,0,0}, st[3]={9,9,9};
	a[0]=1;
	CALL("move_pages q",syscall(SYS_move_pages,0,3L,pg,0,st,0));
	printf("%d %d %d\n",st[0],st[1],st[2]);
	CALL("move_pages",syscall(SYS_move_pages,0,3L,pg,nodes,st,2));
	printf("%d %d %d\n",st[0],st[1],st[2]);
	nodes[0]=1;
	CALL("move_pages bad node",syscall(SYS_move_pages,0,1L,pg,nodes,st,2));
	CALL("move flags",syscall(SYS_move_pages,0,1L,pg,nodes,st,1));
	CALL("home node",syscall(450,a,P,0,0));
	CALL("home node flag",syscall(450,a,P,0,1));
	CALL("home node bad",syscall(450,a,P,100,0));
	/* madvise */
	memset(a,7,8*P);
	for(int ad=-1;ad<28;ad++){
		if(ad==9)continue;
		char b[30];
		sprintf(b,"madvise %d",ad);
		CALL(b,madvise(a+2*P,P,ad));
	}
	CALL("madvise 100",madvise(a,P,100));
	CALL("madvise 101",madvise(a,P,101));
	memset(a,7,8*P);
	madvise(a,P,MADV_DONTNEED);
	printf("%d %d\n",a[0],a[P]);
	madvise(a,8*P,MADV_DOFORK);
	madvise(a,8*P,MADV_KEEPONFORK);
	madvise(a+P,P,MADV_WIPEONFORK);
	madvise(a+2*P,P,MADV_DONTFORK);
	fflush(stdout);
	if(!fork()){
		printf("child %d %d\n",a[P],a[3*P]);
		TRY("dontfork",a[2*P]=1);
		_exit(0);
	}
	wait(0);
	CALL("populate hole",madvise(a-16*P<a?a:a,P,MADV_POPULATE_WRITE));
	mprotect(a,P,PROT_READ);
	CALL("populate ro",madvise(a,P,MADV_POPULATE_WRITE));
	CALL("populate read",madvise(a,P,MADV_POPULATE_READ));
	mprotect(a,P,PROT_NONE);
	CALL("populate none",madvise(a,P,MADV_POPULATE_READ));
	mprotect(a,8*P,3);
	/* process_madvise */
	int pf=syscall(SYS_pidfd_open,getpid(),0);
	struct iovec iv[2]={{a,P},{a+P,P}};
	CALL("process_madvise cold",syscall(SYS_process_madvise,pf,iv,2,MADV_COLD,0));
	CALL("pm willneed",syscall(SYS_process_madvise,pf,iv,2,MADV_WILLNEED,0));
	CALL("pm pageout",syscall(SYS_process_madvise,pf,iv,1,MADV_PAGEOUT,0));
	CALL("pm flags",syscall(SYS_process_madvise,pf,iv,2,MADV_COLD,1));
	CALL("pm badfd",syscall(SYS_process_madvise,1,iv,2,MADV_COLD,0));
	CALL("pm efault",syscall(SYS_process_madvise,pf,8,2,MADV_COLD,0));
	CALL("pm 0",syscall(SYS_process_madvise,pf,iv,0,MADV_COLD,0));
	CALL("pm 2000",syscall(SYS_process_madvise,pf,iv,2000,MADV_COLD,0));
	CALL("pm badadv",syscall(SYS_process_madvise,pf,iv,2,99,0));
	CALL("mrelease alive",syscall(SYS_process_mrelease,pf,0));
	CALL("mrelease flags",syscall(SYS_process_mrelease,pf,1));
	CALL("mrelease bad",syscall(SYS_process_mrelease,1,0));
	{
		int ch=fork();
		if(!ch){
			pause();
		}
		int cf=syscall(SYS_pidfd_open,ch,0);
		kill(ch,9);
		long r=syscall(SYS_process_mrelease,cf,0);
		printf("mrelease killed: %s\n", r==0||errno==ESRCH?"ok":strerrorname_np(errno));
		waitpid(ch,0,0);
		CALL("mrelease reaped",syscall(SYS_process_mrelease,cf,0));
		CALL("pm reaped",syscall(SYS_process_madvise,cf,iv,1,MADV_COLD,0));
	}
	/* mlock */
	struct rlimit rl={2*P,2*P};
	CALL("mlock2 onfault",mlock2(a,P,1));
	CALL("mlock2 bad",mlock2(a,P,2));
	CALL("munlock",munlock(a,P));
	CALL("mlock hole",mlock((void*)(16*P),P));
	CALL("mlock overflow",mlock(a,-1));
	CALL("mlockall 0",mlockall(0));
	CALL("mlockall 8",mlockall(8));
	CALL("mlockall 4",mlockall(4));
	CALL("munlockall",munlockall());
	if(!fork()){
		setrlimit(RLIMIT_MEMLOCK,&rl);
		setuid(1000);
		CALL("mlock 2",mlock(a,2*P));
		CALL("mlock again",mlock(a,2*P));
		CALL("mlock 3",mlock(a,3*P));
		CALL("mlock a third",mlock(a+4*P,P));
		CALL("mmap locked",(long)mmap(0,P,3,MAP_PRIVATE|MAP_ANONYMOUS|MAP_LOCKED,-1,0));
		CALL("mlockall",mlockall(1));
		CALL("mlockall future",mlockall(2));
		CALL("mmap future",(long)mmap(0,P,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0));
		munlockall();
		rl.rlim_cur=0;
		setrlimit(RLIMIT_MEMLOCK,&rl);
		CALL("mlock 0",mlock(a,P));
		CALL("mlockall 0",mlockall(1));
		_exit(0);
	}
	wait(0);
	/* limits */
	if(!fork()){
		struct rlimit x={200<<20,200<<20};
		setrlimit(RLIMIT_AS,&x);
		CALL("as",(long)mmap(0,300<<20,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0));
		DONE("as ok",(long)mmap(0,50<<20,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0));
		_exit(0);
	}
	wait(0);
	if(!fork()){
		struct rlimit x={30<<20,30<<20};
		setrlimit(RLIMIT_DATA,&x);
		CALL("data",(long)mmap(0,40<<20,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0));
		DONE("data none",(long)mmap(0,40<<20,0,MAP_PRIVATE|MAP_ANONYMOUS,-1,0));
		DONE("data shared",(long)mmap(0,40<<20,3,MAP_SHARED|MAP_ANONYMOUS,-1,0));
		DONE("data ro",(long)mmap(0,40<<20,1,MAP_PRIVATE|MAP_ANONYMOUS,-1,0));
		void*cur=sbrk(0);
		CALL("sbrk",sbrk(40<<20)==(void*)-1?-1:0);
		char*q=mmap(0,40<<20,1,MAP_PRIVATE|MAP_ANONYMOUS,-1,0);
		CALL("mprotect to data",mprotect(q,40<<20,3));
		char*y=mmap(0,8<<20,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0);
		CALL("mremap data",(long)mremap(y,8<<20,40<<20,1));
		_exit(0);
	}
	wait(0);
	/* overcommit */
	if(!fork()){
		CALL("huge map",(long)mmap(0,1UL<<45,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0));
		DONE("huge noreserve",(long)mmap(0,1UL<<45,3,MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE,-1,0));
		DONE("huge none",(long)mmap(0,1UL<<45,0,MAP_PRIVATE|MAP_ANONYMOUS,-1,0));
		CALL("huge shared",(long)mmap(0,1UL<<44,3,MAP_SHARED|MAP_ANONYMOUS,-1,0));
		_exit(0);
	}
	wait(0);
	/* growsdown */
	char*z=mmap(0,256*P,0,MAP_PRIVATE|MAP_ANONYMOUS,-1,0);
	munmap(z,256*P);
	char*g=mmap(z+200*P,P,3,MAP_PRIVATE|MAP_ANONYMOUS|MAP_GROWSDOWN|MAP_FIXED,-1,0);
	DONE("growsdown",(long)g);
	CALL("gd shared",(long)mmap(0,P,3,MAP_SHARED|MAP_ANONYMOUS|MAP_GROWSDOWN,-1,0));
	CALL("noreplace",(long)mmap(a,P,3,MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED_NOREPLACE,-1,0));
	CALL("noreplace unaligned",(long)mmap(a+1,P,3,MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED_NOREPLACE,-1,0));
	/* mremap */
	CALL("mremap flag",(long)mremap(a,P,P,8));
	CALL("mremap dontunmap w/o maymove",(long)mremap(a,P,P,4));
	CALL("mremap fixed w/o",(long)mremap(a,P,P,2,a));
	CALL("mremap 0",(long)mremap(a,P,0,1));
	CALL("mremap overlap",(long)mremap(a,2*P,2*P,3,a+P));
	CALL("mremap unaligned",(long)mremap(a+1,P,P,1));
	CALL("old 0 private",(long)mremap(a,0,P,1));
	CALL("mremap hole",(long)mremap((void*)(16*P),P,2*P,1));
	/* files */
	int f=memfd_create("x",MFD_ALLOW_SEALING);
	ftruncate(f,2*P);
	char*m=mmap(0,4*P,3,MAP_SHARED,f,0);
	TRY("in file",m[P]=1);
	TRY("past end",m[2*P]=1);
	ftruncate(f,P);
	TRY("cut off",m[P]=1);
	ftruncate(f,3*P);
	TRY("grown",m[2*P]=1);
	CALL("seal write mapped",fcntl(f,F_ADD_SEALS,F_SEAL_WRITE));
	CALL("future",fcntl(f,F_ADD_SEALS,0x10));
	TRY("still writable",m[0]=1);
	CALL("write",write(f,"x",1));
	CALL("map rw",(long)mmap(0,P,3,MAP_SHARED,f,0));
	char*ro=mmap(0,P,1,MAP_SHARED,f,0);
	DONE("map ro",(long)ro);
	CALL("mprotect",mprotect(ro,P,3));
	DONE("map private",(long)mmap(0,P,3,MAP_PRIVATE,f,0));
	CALL("punch",fallocate(f,3,0,P));
	CALL("grow",ftruncate(f,8*P));
	CALL("get",fcntl(f,F_GET_SEALS));
	/* msync mincore */
	CALL("msync async",msync(m,P,MS_ASYNC));
	CALL("msync inval",msync(m,P,MS_INVALIDATE|MS_SYNC));
	mlock(m,P);
	CALL("msync inval locked",msync(m,P,MS_INVALIDATE));
	CALL("msync both",msync(m,P,5));
	CALL("msync hole",msync((void*)(16*P),P,4));
	CALL("msync unaligned",msync(m+1,P,4));
	CALL("msync 0",msync(m,0,4));
	char*n=mmap(0,4*P,3,MAP_PRIVATE|MAP_ANONYMOUS,-1,0);
	n[P]=1;
	CALL("mincore",mincore(n,4*P,vec));
	printf("%d%d%d%d\n",vec[0]&1,vec[1]&1,vec[2]&1,vec[3]&1);
	CALL("mincore hole",mincore((void*)(16*P),P,vec));
	CALL("mincore bad vec",mincore(n,P,(void*)8));
	CALL("mincore 0",mincore(n,0,vec));
	/* pagemap */
	int pm=open("/proc/self/pagemap",O_RDONLY);
	uint64_t e[4];
	CALL("pagemap",pread(pm,e,32,(uintptr_t)n/P*8));
	printf("%d %d %d\n",(int)(e[0]>>63),(int)(e[1]>>63),(int)(e[2]>>63));
	CALL("pagemap odd",pread(pm,e,31,0));
	CALL("pagemap off",pread(pm,e,8,3));
	return 0;
}
