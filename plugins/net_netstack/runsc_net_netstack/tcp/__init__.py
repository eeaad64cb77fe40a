"""TCP (RFC 9293): ``engine`` finds whose segment it is, ``connection`` is one end, ``arrival`` and
``output`` are its two directions, ``recovery`` finds out what was lost, ``congestion`` how much may be
under way."""
