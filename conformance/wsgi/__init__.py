"""WSGI (PEP 3333), as an application sees it over a real socket, through `wsgiref.validate`."""
