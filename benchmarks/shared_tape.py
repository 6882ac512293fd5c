"""What twenty processes on one tape cost: its pages are in memory once, whoever maps them.

Asked of the kernel, by /proc/PID/smaps: the resident pages of the mapping in each process, and the
share of each (a page that n processes map counts 1/n in each). The shares add up to one tape.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from pathlib import Path

from foldbook.adapters import sessions, synthetic
from foldbook.engine import Session

from .harness import Case, benchmark

PROCESSES = 20


def memory_of(path: Path, pid: int | str) -> tuple[int, int]:
    """Return (resident bytes, share in bytes) of the mapping of a file in a process."""
    resident = share = 0
    is_wanted = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            is_wanted = line.endswith(str(path))
        elif is_wanted and line.startswith(("Rss:", "Pss:")):
            size = int(line.split()[1]) * 1024
            resident += size if line.startswith("Rss:") else 0
            share += size if line.startswith("Pss:") else 0
    return resident, share


def memory_of_all(folder: Path, processes: int) -> list[tuple[int, int]]:
    """Load a session in each of so many processes, and return `memory_of` its tape in each."""
    path = (folder / sessions.TAPE_FILE).resolve()
    children = []
    for _ in range(processes):
        ready, release = os.pipe(), os.pipe()
        pid = os.fork()
        if not pid:
            status = 1
            try:
                session = sessions.load(folder)
                assert len(session.tape)
                os.write(ready[1], b".")
                os.read(release[0], 1)
                status = 0
            finally:
                os._exit(status)
        children.append((pid, ready, release))
    try:
        for _, ready, _ in children:
            os.close(ready[1])
            assert os.read(ready[0], 1), "a process could not load the session"
        return [memory_of(path, pid) for pid, _, _ in children]
    finally:
        for pid, ready, release in children:
            os.write(release[1], b".")
            os.waitpid(pid, 0)
            for end in (ready[0], *release):
                os.close(end)


@benchmark(toy=20_000, full=2_000_000, repeats=3)
def shared_tape(size: int) -> Case:
    """Load one session in 20 processes at once; its tape is in memory once."""
    folder = Path(tempfile.mkdtemp(prefix="foldbook-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    session: Session = synthetic.session(seed=7, events=size)
    sessions.save(session, folder / "session")
    tape_bytes = session.tape.rows.nbytes

    def run() -> list[tuple[int, int]]:
        return memory_of_all(folder / "session", PROCESSES)

    def check(answer: list[tuple[int, int]]) -> None:
        page = 4096
        for resident, _ in answer:
            assert tape_bytes <= resident <= tape_bytes + 2 * page, f"{resident} bytes resident"
        shares = sum(share for _, share in answer)
        # A share is rounded down to whole kB in each process.
        assert abs(shares - tape_bytes) <= PROCESSES * 1024 + 2 * page, f"{shares} bytes in all"

    def tables(answer: list[tuple[int, int]]) -> dict[str, list[dict[str, object]]]:
        return {"memory": [{
            "processes": PROCESSES,
            "tape_bytes": tape_bytes,
            "resident_sum": sum(resident for resident, _ in answer),
            "share_sum": sum(share for _, share in answer),
        }]}

    return Case(run, PROCESSES, "processes", check, tables=tables)
