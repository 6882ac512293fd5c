"""The catalogue in a folder: what it finds half-done, gone, changed or unknown, and says."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from processes import printed
from test_catalogues import later, made
from test_sessions import ROWS

from foldbook.adapters import sessions
from foldbook.adapters.catalogue import CatalogueError, FolderCatalogue
from foldbook.adapters.catalogue.index import Index
from foldbook.adapters.catalogue.mending import Places

OLD = made("two", ROWS[:4])
NEW = made("two")


@pytest.fixture
def folder(tmp_path):
    """A catalogue with one session, "two", of 4 events."""
    FolderCatalogue(tmp_path / "c").save(OLD)
    return tmp_path / "c"


def own(folder):
    """Return what lies in the catalogue's own folders."""
    places = Places(folder)
    return sorted(path.name for each in (places.incoming, places.replaced, places.removed)
                  for path in each.iterdir())


def names(catalogue):
    return [entry.name for entry in catalogue.list()]


def mended(folder):
    """Open a catalogue and return what that mended; a second look finds nothing more."""
    found = FolderCatalogue(folder)
    assert FolderCatalogue(folder).repairs == []
    assert own(folder) == []
    assert set(names(found)) == {path.name for path in folder.iterdir() if path.name[0] != "."}
    for entry in found.list():
        session = found.load(entry.name)
        sessions.verify_digest(session)
        assert session.digest == entry.digest
    return found.repairs


def test_sessions_are_folders_that_all_can_use(folder):
    """A session of the catalogue is one for every command, and its tape is shared by a map."""
    assert sessions.load(folder / "two") == OLD
    assert FolderCatalogue(folder).load("two").source["path"] == str(folder / "two")


def test_list_opens_no_session(folder):
    """It tells the same when no file of any session is there any more."""
    catalogue = FolderCatalogue(folder)
    for number in range(20):
        catalogue.save(later_one(number))
    before = catalogue.list()
    for path in folder.glob("[!.]*/*"):
        path.unlink()
    assert FolderCatalogue(folder).list() == before
    assert len(before) == 21


def later_one(number):
    return made(f"s{number}", later(number))


def test_half_a_save_is_removed(folder):
    """What lies in incoming when nobody writes."""
    sessions.save(NEW, Places(folder).incoming / "new")
    (Places(folder).incoming / ".two.123").mkdir()
    assert mended(folder) == [
        "removed .two.123 from incoming: its save was not finished",
        "removed new from incoming: its save was not finished",
    ]


def test_a_save_that_did_not_count_is_undone(folder):
    """The new session is in its place, the old one aside, and the index has the old digest."""
    places = Places(folder)
    (folder / "two").rename(places.aside(places.replaced, "two"))
    sessions.save(NEW, folder / "two")
    assert mended(folder) == ["put two back: the save that was to replace it was not finished"]
    assert FolderCatalogue(folder).load("two") == OLD


def test_a_session_that_was_aside_alone_is_put_back(folder):
    """Killed between the two renames: nothing is in its place."""
    places = Places(folder)
    (folder / "two").rename(places.aside(places.replaced, "two"))
    assert mended(folder) == ["put two back: the save that was to replace it was not finished"]
    assert FolderCatalogue(folder).load("two") == OLD


def test_a_save_that_counted_is_finished(folder):
    """The index has the new digest: the older session goes."""
    places = Places(folder)
    shutil.copytree(folder / "two", places.aside(places.replaced, "two"))
    aside = next(places.replaced.iterdir())
    parked = folder.parent / "parked"
    aside.rename(parked)
    FolderCatalogue(folder).save(NEW)
    parked.rename(aside)
    assert mended(folder) == ["removed the older two: the save that replaced it had finished"]
    assert FolderCatalogue(folder).load("two") == NEW


def test_a_removal_that_did_not_count_is_undone(folder):
    """The session is aside, and the index still has it."""
    places = Places(folder)
    (folder / "two").rename(places.aside(places.removed, "two"))
    assert mended(folder) == ["put two back: its removal was not finished"]
    assert FolderCatalogue(folder).load("two") == OLD


def test_a_removal_that_counted_is_finished(folder):
    """The session is aside, and the index does not have it any more."""
    places = Places(folder)
    FolderCatalogue(folder).save(NEW, "other")
    (folder / "two").rename(places.aside(places.removed, "two"))
    with Index(places.index).writing() as connection:
        connection.execute("DELETE FROM sessions WHERE name = 'two'")
        connection.execute("COMMIT")
    assert mended(folder) == ["removed what was left of two: its removal had finished"]


def test_sessions_that_the_index_does_not_know_are_adopted(folder):
    """Those that an import wrote into the folder, and one whose save was killed at the last moment;
    what is no session, or a damaged one, is left alone, and the damaged one is named."""
    sessions.save(NEW, folder / "imported")
    (folder / "notes").mkdir()
    (folder / "notes/a.txt").write_text("mine")
    (folder / "file").write_text("mine")
    (folder / "damaged").mkdir()
    (folder / "damaged" / sessions.ABOUT_FILE).write_text("{")
    found = FolderCatalogue(folder)
    assert found.repairs[1:] == ["adopted imported: a session that the index did not know"]
    assert found.repairs[0].startswith(f"left damaged alone: {folder / 'damaged'}")
    assert names(found) == ["imported", "two"]
    assert found.load("imported") == NEW
    assert (folder / "notes/a.txt").read_text() == "mine"


def test_a_folder_of_sessions_becomes_a_catalogue(tmp_path):
    """Without an index each session is adopted; a folder without sessions is left as it was."""
    sessions.save(OLD, tmp_path / "some/a")
    sessions.save(NEW, tmp_path / "some/b")
    assert names(FolderCatalogue(tmp_path / "some")) == ["a", "b"]
    (tmp_path / "none").mkdir()
    with pytest.raises(CatalogueError, match="holds no catalogue yet"):
        FolderCatalogue(tmp_path / "none").list()
    assert list((tmp_path / "none").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogueError, match="file: is no folder"):
        FolderCatalogue(tmp_path / "file")


def test_a_lost_index_is_made_again(folder):
    """All that it knows is in the sessions."""
    before = FolderCatalogue(folder).list()
    Places(folder).index.unlink()
    assert FolderCatalogue(folder).list() == before


def test_a_session_that_is_gone_is_told_with_the_cure(folder):
    """By list, and by load, which says how to mend it; remove forgets it."""
    catalogue = FolderCatalogue(folder)
    catalogue.save(NEW, "other")
    shutil.rmtree(folder / "two")
    assert [(entry.name, entry.is_gone) for entry in FolderCatalogue(folder).list()] == [
        ("other", False), ("two", True)]
    with pytest.raises(CatalogueError, match=r"its folder is gone: put it back, or .*remove two"):
        catalogue.load("two")
    catalogue.remove("two")
    assert names(catalogue) == ["other"]


def test_a_session_that_was_changed_is_told_with_the_cure(folder):
    """Another session lies in its place: load says so, and saving it is the cure."""
    sessions.save(NEW, folder / "two")
    catalogue = FolderCatalogue(folder)
    with pytest.raises(CatalogueError, match=f"its digest is {NEW.digest}, not {OLD.digest}"):
        catalogue.load("two")
    catalogue.save(sessions.load(folder / "two"))
    assert catalogue.load("two") == NEW


def test_somebodys_folder_is_not_replaced(folder):
    """A folder of that name that is no session stays, and the save is refused."""
    (folder / "mine").mkdir()
    (folder / "mine/a.txt").write_text("mine")
    with pytest.raises(CatalogueError, match="mine: exists and is no session: not replaced"):
        FolderCatalogue(folder).save(NEW, "mine")
    assert (folder / "mine/a.txt").read_text() == "mine"
    assert own(folder) == []


def test_a_newer_index_is_refused(folder):
    """By name, and nothing is done to it."""
    with sqlite3.connect(Places(folder).index) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for ask in (lambda: FolderCatalogue(folder), lambda: FolderCatalogue(folder).save(NEW)):
        with pytest.raises(CatalogueError, match="is of version 99, written by a newer foldbook"):
            ask()


def test_a_damaged_index_is_told_with_the_cure(folder):
    """Removing it, as the line says, brings everything back."""
    index = Places(folder).index
    for damage in (b"no database" * 1000, index.read_bytes()[:100] + b"\xff" * 20_000):
        index.write_bytes(damage)
        with pytest.raises(CatalogueError, match="is damaged .* remove this file"):
            FolderCatalogue(folder).list()
        index.unlink()
        assert FolderCatalogue(folder).load("two") == OLD


def test_a_second_writer_waits_or_is_told(folder):
    """While one writes, another waits as long as it is told to; readers do not wait at all."""
    index = Index(Places(folder).index)
    with index.writing():
        impatient = FolderCatalogue(folder, wait_seconds=0.05)
        for write in (lambda: impatient.save(NEW), lambda: impatient.remove("two")):
            with pytest.raises(CatalogueError, match=r"another process is writing; waited 0.05 s"):
                write()
        assert impatient.load("two") == OLD
        patient = threading.Thread(target=lambda: FolderCatalogue(folder).save(NEW))
        patient.start()
        patient.join(0.2)
        assert patient.is_alive()
        assert FolderCatalogue(folder).load("two") == OLD
    patient.join()
    assert FolderCatalogue(folder).load("two") == NEW


def test_nothing_is_mended_while_somebody_writes(folder):
    """What looks half-done is then the writer's own."""
    with Index(Places(folder).index).writing():
        sessions.save(NEW, Places(folder).incoming / "new")
        assert FolderCatalogue(folder).repairs == []
        assert own(folder) == ["new"]
    assert len(mended(folder)) == 1


FULL = """
import resource, sys
from test_catalogue_folder import FolderCatalogue, NEW
from test_sessions import ROWS
from test_catalogues import made
folder, limit = sys.argv[1], int(sys.argv[2])
catalogue = FolderCatalogue(folder)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    catalogue.save(NEW)
    print("saved")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("limit", [0, 100, 1000])
def test_a_full_disk_leaves_what_was_there(folder, tmp_path, limit):
    """Files that may not grow stand for a full disk: one line says so, all earlier is intact."""
    script = tmp_path / "full.py"
    script.write_text(FULL)
    told = " ".join(printed(str(script), folder, limit))
    assert told.startswith("CatalogueError ")
    assert "File too large" in told or "full" in told or "disk I/O" in told
    assert mended(folder) == []
    assert FolderCatalogue(folder).load("two") == OLD
    FolderCatalogue(folder).save(NEW)


def test_writers_in_processes_wait_for_each_other(folder, tmp_path):
    """Three processes save five sessions each: all of them are there."""
    script = tmp_path / "many.py"
    script.write_text(
        "import sys\n"
        "from test_catalogue_folder import FolderCatalogue, later_one\n"
        "for number in range(5):\n"
        "    FolderCatalogue(sys.argv[1]).save(later_one(10 * int(sys.argv[2]) + number))\n"
    )
    path = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    running = [subprocess.Popen([sys.executable, script, folder, str(number)],
                                env=os.environ | {"PYTHONPATH": path})
               for number in range(3)]
    assert [each.wait() for each in running] == [0, 0, 0]
    assert len(FolderCatalogue(folder).list()) == 16
    assert mended(folder) == []


def test_entries_are_what_json_can_hold(folder):
    """For `foldbook ls --json`."""
    (entry,) = FolderCatalogue(folder).list()
    assert json.loads(json.dumps(entry.to_json()))["tickers"] == ["KXA-1", "KXB-1"]


def test_an_index_of_another_form_is_named(folder):
    """What to do is said; once it is removed the sessions are found again."""
    path = Places(folder).index
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE sessions RENAME COLUMN quality TO grade")
    with pytest.raises(CatalogueError, match="is damaged .no such column: quality.; remove this"):
        FolderCatalogue(folder).list()
    path.unlink()
    assert names(FolderCatalogue(folder)) == ["two"]
