"""The kvm platform: guests run on virtual CPUs, on page tables of our own."""
