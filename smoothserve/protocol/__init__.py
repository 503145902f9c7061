"""HTTP/1 as bytes in and events out, without any I/O (RFC 9110, RFC 9112)."""
