"""The asyncio side of a connection: transport, timeouts, flow control, handover."""
