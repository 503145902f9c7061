"""One WSGI exchange each: environ, input, output, the thread pool (PEP 3333)."""
