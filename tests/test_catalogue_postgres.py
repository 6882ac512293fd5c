"""The catalogue in PostgreSQL: its tables, its versions, what it refuses, and SQL over tapes."""

from __future__ import annotations

import os
import pickle
import threading

import numpy as np
import psycopg
import pytest
from test_catalogues import later, made
from test_sessions import ROWS

from foldbook.adapters import catalogue
from foldbook.adapters.catalogue import CatalogueError, without_password
from foldbook.adapters.postgres import PostgresCatalogue, blocks, migrations
from foldbook.engine.errors import TapeError
from foldbook.engine.schema import TAPE_DTYPE, TapeKind

NEW = made("two")


@pytest.fixture
def ask(database):
    """A function that asks the database with SQL and returns the rows."""

    def ask(question, *values):
        with psycopg.connect(database, autocommit=True) as connection:
            done = connection.execute(question, values)
            return done.fetchall() if done.description else []

    return ask


def test_blocks_come_back_as_they_were():
    """Any values of any column, at the edges of their types; blocks that are full and not."""
    random = np.random.default_rng(5)
    for count in (1, blocks.BLOCK_ROWS, blocks.BLOCK_ROWS + 1):
        rows = random.integers(0, 256, count * TAPE_DTYPE.itemsize, np.uint8).view(TAPE_DTYPE)
        sent = list(blocks.to_copy(rows, 7))
        with pytest.raises(TapeError, match="here: has"):
            blocks.from_copy(iter(as_read(sent)), count + 1, "here")
        assert blocks.from_copy(iter(as_read(sent)), count, "here").tobytes() == rows.tobytes()
        with pytest.raises(TapeError, match=f"here: has more than the {count - 1} rows"):
            blocks.from_copy(iter(as_read(sent)), count - 1, "here")


def as_read(sent):
    """Return what the server answers: header and first row in one, and without the key."""
    begin, *bodies, end = sent
    bare = [body[:2] + body[2 + 4 * 12 :] for body in bodies]
    return [begin + bare[0], *bare[1:], end]


def test_tapes_can_be_asked_with_sql(database, ask):
    """The view and the function give what the tape holds: counted here by NumPy, and by hand."""
    PostgresCatalogue(database).save(NEW)
    PostgresCatalogue(database).save(made("other", later(1)))
    rows = ask('SELECT "row", ts, recv, ticker, kind, side, price, qty, ahead, flags '
               "FROM foldbook.tape WHERE session = 'two' ORDER BY 1")
    tickers = [market.ticker for market in NEW.markets]
    assert rows == [
        (at, *(int(row[name]) for name in ("ts", "recv")), tickers[row["market"]],
         *(int(row[name]) for name in ("kind", "side", "price", "qty", "ahead", "flags")))
        for at, row in enumerate(ROWS)
    ]
    trades = ask("SELECT ticker, count(*), sum(qty) FROM foldbook.tape "
                 "WHERE session = 'two' AND kind = %s GROUP BY 1", int(TapeKind.TRADE))
    assert trades == [("KXA-1", 1, 200)]
    between = ask('SELECT "row" FROM foldbook.tape_between(%s, 30, 50) ORDER BY 1', "two")
    assert between == [(5,), (6,), (7,), (8,)]


def test_time_skips_blocks(database, ask):
    """Of 10 blocks, a question about one moment looks at one."""
    rows = later(0)[[0, 1, 2, 3, *[7] * (10 * blocks.BLOCK_ROWS - 4)]]
    rows["ts"][4:] += range(len(rows) - 4)
    PostgresCatalogue(database).save(made(rows=rows))
    ts = int(rows["ts"][50_000])
    plan = ask("EXPLAIN (ANALYZE, COSTS off) SELECT * FROM foldbook.tape_blocks "
               f"WHERE last_ts >= {ts} AND first_ts <= {ts}")
    assert any("rows=1" in line for (line,) in plan[:1])
    assert ask('SELECT "row" FROM foldbook.tape_between(%s, %s, %s)', "two", ts, ts) == [(50_000,)]


def test_a_database_that_cannot_be_reached_is_one_line():
    """Whose fault and where, and no password."""
    for url, why in (
        ("postgresql://ada:secret@127.0.0.1:1/team", "Connection refused"),
        ("postgresql://ada:secret@%2Fnowhere/team", "No such file or directory"),
        ("postgresql://ada:secret@host/team?no=option", "invalid"),
    ):
        with pytest.raises(CatalogueError, match=r"^postgresql://ada@.* cannot be rea") as told:
            catalogue.open(url).list()
        assert why in str(told.value)
        assert "secret" not in str(told.value)
        assert "\n" not in str(told.value)


def test_a_database_that_is_not_there_is_one_line(database):
    """The server answers, but has no database of that name."""
    with pytest.raises(CatalogueError, match='database "nowhere" does not exist'):
        catalogue.open(database.replace("/foldbook_test", "/nowhere", 1).replace(
            f"/nowhere{database.partition('/foldbook_test')[2].partition('?')[0]}", "/nowhere")
        ).list()


def test_passwords_are_not_shown():
    """In the authority or among the parameters."""
    assert without_password("postgresql://a:b@h/d?password=x&sslmode=require") == (
        "postgresql://a@h/d?sslmode=require")
    assert without_password("postgresql://a:b:c@h:5/d?sslpassword=x") == "postgresql://a@h:5/d"
    assert without_password("postgresql://h/d?user=a&password=x") == "postgresql://h/d?user=a"
    assert without_password("/some/folder:with@signs") == "/some/folder:with@signs"


def at_version(database, number):
    """Bring a database to a version, as an older foldbook would have."""
    with psycopg.connect(database) as connection:
        connection.execute("SET LOCAL search_path TO foldbook")
        known = migrations.MIGRATIONS
        try:
            migrations.MIGRATIONS = known[:number]
            migrations.migrate(connection, database)
        finally:
            migrations.MIGRATIONS = known


def test_an_older_database_is_refused_until_somebody_renews_it(database):
    """To load, list and save; `migrate` takes the step that is missing."""
    at_version(database, 1)
    old = PostgresCatalogue(database)
    for use in (old.list, lambda: old.save(NEW), lambda: old.load("two")):
        with pytest.raises(CatalogueError, match="version 1, older than .* `foldbook migrate`"):
            use()
    assert old.migrate() == ["2: tapes as rows, for SQL"]
    assert old.migrate() == []
    old.save(NEW)
    assert old.load("two") == NEW


def test_a_newer_database_is_refused(database, ask):
    """By load, list, save and migrate, and nothing is done to it."""
    PostgresCatalogue(database).save(NEW)
    ask("INSERT INTO foldbook.migrations VALUES (99, 'of tomorrow')")
    old = PostgresCatalogue(database)
    for use in (old.list, lambda: old.save(NEW), lambda: old.remove("two"), old.migrate):
        with pytest.raises(CatalogueError, match="version 99, written by a newer foldbook"):
            use()
    assert ask("SELECT count(*) FROM foldbook.sessions") == [(1,)]


def test_two_make_the_tables_at_once(database):
    """Both first saves are done, and each migration was taken once."""
    errors = []

    def save(number):
        try:
            PostgresCatalogue(database).save(made(f"s{number}"))
        except CatalogueError as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(PostgresCatalogue(database).list()) == 4


def test_a_second_writer_waits_or_is_told(database):
    """Of the same session; of another one nobody waits."""
    patient = PostgresCatalogue(database)
    patient.save(made("two", ROWS[:4]))
    with psycopg.connect(database) as writing:
        writing.execute("SELECT pg_advisory_xact_lock(hashtextextended('two', 0))")
        impatient = PostgresCatalogue(database, wait_seconds=0.05)
        for write in (lambda: impatient.save(NEW), lambda: impatient.remove("two")):
            with pytest.raises(CatalogueError, match="another process is writing, and did not end"):
                write()
        impatient.save(made("other"))
        waiting = threading.Thread(target=lambda: patient.save(NEW))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        assert len(impatient.load("two").tape) == 4
    waiting.join()
    assert patient.load("two") == NEW


def test_rows_that_were_changed_are_found(database, ask):
    """A tape that is not the one of its digest is not handed out."""
    kept = PostgresCatalogue(database)
    kept.save(NEW)
    ask("UPDATE foldbook.tape_blocks SET qty[4] = 501")
    with pytest.raises(CatalogueError, match=f"its digest is .*, not {NEW.digest}"):
        kept.load("two")
    ask("UPDATE foldbook.tape_blocks SET qty[4] = -1")
    with pytest.raises(CatalogueError, match=r"row 3 \(KXA-1\): qty -1 is not between"):
        kept.load("two")
    ask("UPDATE foldbook.sessions SET events = 14")
    with pytest.raises(CatalogueError, match="session two: has more than the 14 rows of its entry"):
        kept.load("two")
    ask("DELETE FROM foldbook.tape_blocks")
    with pytest.raises(CatalogueError, match="session two: has 0 rows, not the 14 of its entry"):
        kept.load("two")


def test_a_pickle_knows_that_a_session_was_replaced(database):
    """It holds the place and the digest, not the tape; of another session it says so."""
    kept = PostgresCatalogue(database)
    kept.save(made(rows=later(0)[[0, 1, 2, 3, *[7] * 1000]]))
    held = pickle.dumps(kept.load("two"))
    assert len(held) < 1000
    kept.save(NEW)
    with pytest.raises(CatalogueError, match="session two was replaced"):
        pickle.loads(held)


def test_removing_a_session_leaves_no_row_of_it(database, ask):
    """Nor does replacing one."""
    kept = PostgresCatalogue(database)
    kept.save(NEW)
    kept.save(NEW)
    tables = ("markets", "tape_blocks")
    assert [ask(f"SELECT count(*) FROM foldbook.{name}") for name in tables] == [[(2,)], [(1,)]]
    kept.remove("two")
    assert [ask(f"SELECT count(*) FROM foldbook.{name}") for name in tables] == [[(0,)], [(0,)]]


def test_the_url_of_the_environment_is_complete(monkeypatch):
    """A journal names a catalogue without its password: the user's own URL has it."""
    from foldbook.adapters.cli import plugins

    monkeypatch.setitem(os.environ, catalogue.VARIABLE, "postgresql://ada:secret@h/d")
    assert plugins._with_password("postgresql://ada@h/d") == "postgresql://ada:secret@h/d"
    assert plugins._with_password("postgresql://eve@h/d") == "postgresql://eve@h/d"
