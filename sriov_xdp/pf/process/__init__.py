"""The daemon's process: its places, writer and mailboxes; and what is done where none runs: teardown, recover.

For the api and the command line."""
