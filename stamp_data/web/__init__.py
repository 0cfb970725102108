"""Pages of commands, for this machine only: server (address, checks, end) and answers. Needs the extra `pages`."""
