"""What a plugin may implement (``hookspecs``), how one is found by name (``loader``)."""
