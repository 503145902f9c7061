"""The cases of the Autobahn WebSocket test suite by their numbers, for a server that echoes: see README.md here.

Numbers, payloads and expectations are those of its version 25.10.1; the tables, the client and the judge are our own.
"""
