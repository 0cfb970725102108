"""Pages of commands: a shell around each, as one file or served to this machine only.

`document` needs nothing; `files`, `server` (address, checks, end) and `answers` need the extra `pages`.
"""
