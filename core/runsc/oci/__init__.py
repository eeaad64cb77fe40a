"""The OCI runtime: containers by the runtime specification, as a library. The command line parses and
prints."""
