"""A job as a firm would write it: rows in, two events each, and a file that says how far it got. It may be killed.

Arguments: url, token, spool, the file. Killed between a row and the note of it, it works through that row again, so it
names its rows: told twice, they are told once.
"""

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from opsboard.client import Client

ROWS = 250
START = datetime(2026, 11, 20, tzinfo=UTC)


def main(url: str, token: str, spool: str, done: str) -> None:
    """Carry what is left of the rows, say each number on standard output, and wait until all is sent."""
    note = Path(done)
    first = int(note.read_text()) if note.exists() else 0
    with Client(url, token, source="urn:firm:job", spool=spool, every=0.01, at_exit=20.0) as client:
        for row in range(first, ROWS):
            objects = [("psa", "time_entry", f"T-{row}"), ("psa", "project", f"P-{row % 5}")]
            at = START + timedelta(seconds=row)
            with client.transaction("time-to-billing", f"row-{row}", objects, run=f"row-{row}", at=at) as tx:
                tx.posted({"row": row})
                tx.acknowledged(objects=[("erp", "invoice", f"INV-{row}")])
            half = note.with_suffix(".half")
            half.write_text(str(row + 1))
            half.replace(note)
            print(row, flush=True)
            time.sleep(0.001)
        print("sent" if client.flush(20) else client.trouble, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
