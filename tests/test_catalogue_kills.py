"""Writers of catalogues killed at random moments: what was acknowledged is there, whole, and
nothing of the rest is seen. FOLDBOOK_KILLS=200 kills more often than the suite does.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np
import psycopg
from kills import Trial, Witness, kill_at_random, kill_before_each_change
from test_catalogue_folder import own
from test_catalogues import later, made

from foldbook.adapters import sessions
from foldbook.adapters.catalogue import Catalogue, FolderCatalogue
from foldbook.adapters.postgres import PostgresCatalogue

EVENTS = 10_000
URL = "FOLDBOOK_KILLED_DATABASE"
"""Names the database to the writer, which is a process of its own."""


def long(events, name="long"):
    """Return a session of so many events."""
    rows = later(0)[np.minimum(np.arange(events), 4)]
    rows[4:] = later(0)[7]
    rows["ts"][4:] += np.arange(len(rows) - 4)
    return made(name, rows)


OLD, NEW = long(EVENTS - 1), long(EVENTS)


def prepare(catalogue: Catalogue, prefix: str) -> None:
    """Save what is to be replaced and removed."""
    catalogue.save(OLD, f"{prefix}-replaced")
    catalogue.save(OLD, f"{prefix}-removed")


def write(catalogue: Catalogue, prefix: str, witness: Witness) -> None:
    """Replace a session, add one, remove one; say so after each."""
    witness.begins()
    catalogue.save(NEW, f"{prefix}-replaced")
    witness.says("replaced")
    catalogue.save(NEW, f"{prefix}-added")
    witness.says("added")
    catalogue.remove(f"{prefix}-removed")
    witness.says("removed")


def check(catalogue: Catalogue, prefix: str, told: list[str]) -> None:
    """What was said is so; what was not said is so or not, but never in part."""
    found = {entry.name.removeprefix(f"{prefix}-"): entry for entry in catalogue.list()
             if entry.name.startswith(f"{prefix}-")}
    assert told == ["replaced", "added", "removed"][: len(told)]
    assert set(found) <= {"replaced", "added", "removed"}
    assert found["replaced"].digest in {NEW.digest, OLD.digest} - (
        {OLD.digest} if "replaced" in told else set())
    assert "added" in found or "added" not in told
    assert "removed" not in found or "removed" not in told
    assert "removed" in found or "added" in told
    for entry in found.values():
        session = catalogue.load(entry.name)
        sessions.verify_digest(session)
        assert not entry.is_gone
        assert session.digest == entry.digest
        assert len(session.tape) == entry.events


@cache
def prepared_folder() -> Path:
    """Return a catalogue to copy, made once by the process that all writers are forks of."""
    folder = Path(tempfile.mkdtemp(prefix="foldbook-prepared-"))
    prepare(FolderCatalogue(folder), "x")
    atexit.register(shutil.rmtree, folder)
    return folder


def write_to_folder(folder, witness):
    shutil.copytree(prepared_folder(), folder / "c")
    write(FolderCatalogue(folder / "c"), "x", witness)


def check_folder(trial: Trial, repaired: list[str]) -> None:
    """After one look at it, too, nothing is left half-done, and that look said what it found."""
    place = trial.folder / "c"
    torn = own(place)
    catalogue = FolderCatalogue(place)
    assert bool(torn) <= bool(catalogue.repairs)
    repaired += catalogue.repairs
    check(catalogue, "x", trial.told)
    assert own(place) == []
    assert {path.name for path in place.iterdir()} == {
        ".catalogue", *(entry.name for entry in catalogue.list())}
    assert FolderCatalogue(place).repairs == []


def test_a_folder_survives_being_killed_at_random(tmp_path):
    """Saves and removals, killed at moments spread over their time; some needed repair."""
    repaired: list[str] = []
    kill_at_random("test_catalogue_kills:write_to_folder", tmp_path,
                   lambda trial: check_folder(trial, repaired), seed=4)
    assert repaired


def test_a_folder_survives_being_killed_before_each_change(tmp_path):
    """Each state that lies between two of our own changes of the file system (the index makes its
    own); each repair that they can need was done."""
    repaired: list[str] = []
    kill_before_each_change("test_catalogue_kills:write_to_folder", tmp_path,
                            lambda trial: check_folder(trial, repaired))
    told = " ".join(repaired)
    for kind in ("from incoming: its save was not finished", "put x-replaced back",
                 "removed the older x-replaced", "removed what was left of x-removed"):
        assert kind in told


def write_to_postgres(folder, witness):
    prepare(PostgresCatalogue(os.environ[URL]), folder.name)
    write(PostgresCatalogue(os.environ[URL]), folder.name, witness)


def wait_for_the_server(database):
    """Wait until the server has noticed that the writer is dead, and ended what it had begun."""
    others = ("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'foldbook' "
              "AND datname = current_database()")
    with psycopg.connect(database, autocommit=True) as connection:
        for _ in range(1000):
            if connection.execute(others).fetchone() == (0,):
                return
            time.sleep(0.01)
    raise AssertionError("the server still works for the dead writer after 10 s")


def test_postgres_survives_being_killed_at_random(tmp_path, database, monkeypatch):
    """One transaction a session: the server undoes what was not committed, and nothing is left."""
    monkeypatch.setenv(URL, database)
    catalogue = PostgresCatalogue(database)

    def check_database(trial):
        wait_for_the_server(database)
        check(catalogue, trial.folder.name, trial.told)

    kill_at_random("test_catalogue_kills:write_to_postgres", tmp_path, check_database, seed=5)
    assert PostgresCatalogue(database).repairs == ()
