# What `make run` shows: run inside a sandbox.
echo "Hello from inside runsc."
echo "The kernel here is: $(uname -a)"
echo "You are:            $(id)"
echo "Process $$ sees $(ls / | wc -l) entries in / and $(wc -l < /proc/self/maps) memory areas of its own."
