"""The virtual file system: inodes, dentries, mounts, open files and the walk along a path."""
