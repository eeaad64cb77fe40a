"""The ptrace platform: guest threads are host threads run with PTRACE_SYSEMU."""
