"""What other readers of YAML make of a number that is not written with digits only, to tell the writer what to write.

Pure. Used by api.sentences.
"""

import re

NUMBER = re.compile(r"0|[1-9][0-9]*")  # what is a number here
_LONGEST = 24
_RADIX = {"x": "hexadecimal", "o": "octal", "b": "binary"}
_WITH_RADIX = re.compile(r"0(?P<radix>[xob])(?P<digits>[0-9a-fA-F]+)")
_BASE_60 = re.compile(r"[0-9]+(:[0-5]?[0-9])+")
_FRACTION = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,2})?")
_LARGEST_EXACT = 1 << 53


def remedy(text: str) -> str | None:
    """For a text that some readers take for a number (YAML 1.1 and 1.2); None when it is none."""
    if len(text) > _LONGEST or not text.isascii() or NUMBER.fullmatch(text):
        return None
    digits = text.replace("_", "") if re.match(r"[-+]?[0-9]", text) else text
    if digits.startswith("-"):
        return "no number here is negative: write it without a sign" if _readings(digits[1:]) else None
    found = _readings(digits.removeprefix("+"))
    if not found:
        return None
    reading, numbers = found
    if not numbers:
        return "write a whole number"
    return f"{text} is {reading}: write {' or '.join(str(number) for number in numbers)}"


def _readings(digits: str) -> tuple[str, list[int]] | None:
    """How it is read, and the numbers it can mean."""
    prefixed = _WITH_RADIX.fullmatch(digits)
    if prefixed:
        try:
            return f"{_RADIX[prefixed['radix']]} for some readers", [int(digits, 0)]
        except ValueError:
            return None
    if digits.isdecimal():
        return _of_digits(digits)
    if _BASE_60.fullmatch(digits):
        number = 0
        for part in digits.split(":"):
            number = number * 60 + int(part)
        return "a number to the base of 60 for some readers", [number]
    if _FRACTION.fullmatch(digits):
        number_or_fraction = float(digits)
        is_whole = number_or_fraction.is_integer() and number_or_fraction < _LARGEST_EXACT
        return "a fraction for some readers", [int(number_or_fraction)] if is_whole else []
    return None


def _of_digits(digits: str) -> tuple[str, list[int]]:
    if not digits.startswith("0") or digits == "0":
        return "not written with digits only", [int(digits)]
    try:
        octal = int(digits, 8)
    except ValueError:
        return "a text for some readers", [int(digits)]
    decimal = int(digits)
    return "octal for some readers", [decimal] if octal == decimal else [decimal, octal]
