"""The daemon's log on stderr: one JSON object a line, or plain text on a terminal."""

import json
import logging
import sys
import time


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


def configure_logging() -> None:
    """For a process that logs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)-7s %(name)s: %(message)s") if sys.stderr.isatty() else _JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
