"""The upstream's side of the wire: data types, envelopes, paging, signed addresses, transport."""
