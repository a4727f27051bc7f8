"""What is and what is wanted: values, the inventory, their differences and forms. Pure: no IO; time and what was observed come as
arguments.

For the rooms above it, and the api."""
