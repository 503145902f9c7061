"""The verbs of the command line: what speaks to a master through its control socket, and what starts one."""
