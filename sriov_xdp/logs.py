"""The daemon's log on stderr: one JSON object a line, or plain text on a terminal; for the journal each line bears its priority."""

import json
import logging
import os
import sys
import time
from collections.abc import Mapping

# sd-daemon(3), syslog(3): a line for the journal may begin with its priority.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.NOTSET, 7))


class _JsonLines(logging.Formatter):
    """time, level, logger, message; control characters of guests come out escaped."""

    def format(self, record: logging.LogRecord) -> str:
        document = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document)


class _JournalLines(_JsonLines):
    """As JSON lines, with a priority that the journal takes off."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
        return f"<{priority}>{super().format(record)}"


def goes_to_the_journal(environment: Mapping[str, str], fd: int) -> bool:
    """Whether a descriptor is the stream that the service manager opened to the journal (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _formatter() -> logging.Formatter:
    if sys.stderr.isatty():
        return logging.Formatter("%(levelname)-7s %(name)s: %(message)s")
    return _JournalLines() if goes_to_the_journal(os.environ, sys.stderr.fileno()) else _JsonLines()


def configure_logging() -> None:
    """For a process that logs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
