"""What can be asked of the PF or happen to it: requests of guests, commands, a configuration, what the host does, a start.

Steps, one verb at a time. For the process and the api."""
