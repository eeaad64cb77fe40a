"""File systems and file types that live in the kernel itself."""
