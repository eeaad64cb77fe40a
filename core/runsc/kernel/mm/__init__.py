"""Guest memory: areas, mappings, copies in and out."""
