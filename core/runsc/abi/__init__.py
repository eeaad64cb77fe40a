"""Linux's x86-64 ABI: numbers and layouts, one module for each family of manual pages."""
