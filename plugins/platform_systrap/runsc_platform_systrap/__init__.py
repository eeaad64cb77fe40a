"""The systrap platform: guests' system calls become signals, answered through shared memory."""
