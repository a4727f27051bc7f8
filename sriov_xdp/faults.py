"""The root of all faults of this product: what could not be done, and why.

Not for denials of policy, which are values, nor for mistakes of the program, which have no remedy that an operator could use. Each
layer has its own kinds (errors.py of its package). Used by every package.
"""


class Fault(Exception):
    """Its text names subject, what was observed, and the remedy: "subject: observed; remedy", a line each where there are several
    at once. exit_code: of a command that ends with it, as the README lists them."""

    exit_code = 1
