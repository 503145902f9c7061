"""Conformance suites that speak to any server from outside: each is `python -m conformance.NAME HOST:PORT`.

They share no code with the server that they are to judge, and nothing of the libraries that it is built from.
"""
