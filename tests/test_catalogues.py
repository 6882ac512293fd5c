"""Catalogues: one contract, which the folder and PostgreSQL keep alike."""

from __future__ import annotations

import json
import pickle
import threading

import pytest
from test_sessions import ROWS

from foldbook.adapters import catalogue, sessions, synthetic
from foldbook.adapters.catalogue import CatalogueError, UnknownSessionError
from foldbook.adapters.gym import MarketEnv
from foldbook.engine.schema import TAPE_DTYPE
from foldbook.engine.session import Session, Tape
from foldbook.engine.specs import Market

MARKETS = (Market("KXA-1", event="KXA"), Market("KXB-1", 10))


def made(name="two", rows=ROWS, markets=MARKETS, **facts) -> Session:
    return Session(Tape(rows), markets, name=name, facts=facts)


def later(seconds: int):
    """Return the rows of `ROWS`, so many seconds later."""
    rows = ROWS.copy()
    rows["ts"] += seconds * 10**9
    rows["recv"] += seconds * 10**9
    return rows


@pytest.fixture(params=["folder", "postgres"])
def place(request, tmp_path):
    """Where a catalogue may be: a folder that is not there yet, or an empty database."""
    if request.param == "folder":
        return tmp_path / "catalogue"
    return request.getfixturevalue("database")


@pytest.fixture
def kept(place):
    """A catalogue of that place."""
    return catalogue.open(place)


def test_a_session_comes_back_as_it_was(kept):
    """Rows, digest, markets, name and facts; in another process too."""
    session = made(feed_offset_ns=1, raw={"snapshots": 4})
    kept.save(session)
    loaded = kept.load("two")
    for other in (loaded, pickle.loads(pickle.dumps(loaded))):
        assert other.tape.rows.tobytes() == ROWS.tobytes()
        assert (other.digest, other.markets, other.name) == (session.digest, MARKETS, "two")
        assert dict(other.facts) == {"feed_offset_ns": 1, "raw": {"snapshots": 4}}


def test_a_long_tape_comes_back_in_its_order(kept):
    """More rows than PostgreSQL has in one block, and a last block that is not full."""
    rows = later(0)[[0, 1, 2, 3, *[7] * 20_000]]
    rows["ts"][4:] += range(20_000)
    session = made(rows=rows)
    kept.save(session)
    assert kept.load("two").tape.rows.tobytes() == rows.tobytes()


def test_an_entry_says_what_a_session_holds(kept):
    """15 rows from ts 10 to 90 with one gap: what `list` and `save` say of them."""
    saved = kept.save(made())
    (entry,) = kept.list()
    assert entry == saved
    assert (entry.name, entry.tickers, entry.events, entry.gaps) == (
        "two", ("KXA-1", "KXB-1"), 15, 1)
    assert (entry.start, entry.end, entry.is_gone) == (10, 90, False)
    assert entry.digest == made().digest
    assert entry.size >= 15 * TAPE_DTYPE.itemsize
    json.dumps(entry.to_json())


def test_a_session_without_events_has_no_span(kept):
    """It is kept, and no condition on time finds it."""
    kept.save(made(rows=ROWS[:0]))
    (entry,) = kept.list()
    assert (entry.start, entry.end, entry.events) == (None, None, 0)
    assert kept.find(since=0) == []
    assert len(kept.load("two").tape) == 0


def test_facts_are_what_info_shows(kept):
    """As `describe` says of the session that was saved."""
    session = made()
    kept.save(session)
    assert kept.facts("two") == json.loads(json.dumps(sessions.describe(session)))


def test_a_session_of_that_name_is_replaced(kept):
    """One entry and its new tape; the older one is no more."""
    kept.save(made())
    kept.save(made(rows=ROWS[:4]))
    assert [entry.events for entry in kept.list()] == [4]
    assert len(kept.load("two").tape) == 4


def test_a_session_may_be_kept_under_another_name(kept):
    """Its name is then that of the catalogue."""
    kept.save(made(), "KXA-copy")
    assert [entry.name for entry in kept.list()] == ["KXA-copy"]
    assert kept.load("KXA-copy").name == "KXA-copy"


def test_entries_are_sorted_by_name(kept):
    """As bytes, whatever the order of saving and the language of the server."""
    for name in ("b", "B", "a.1", "a-1", "10", "9"):
        kept.save(made(name))
    assert [entry.name for entry in kept.list()] == ["10", "9", "B", "a-1", "a.1", "b"]


FOUND = (
    ({}, ["early", "late", "other"]),
    ({"ticker": "KXB-1"}, ["early", "late"]),
    ({"ticker": "KXB"}, []),
    ({"series": "KXB"}, ["early", "late"]),
    ({"series": "KXC"}, ["other"]),
    ({"since": 90}, ["early", "late", "other"]),
    ({"since": 91}, ["late", "other"]),
    ({"until": 10}, ["early"]),
    ({"until": 9}, []),
    ({"since": 91, "until": 10**9 + 10}, ["late", "other"]),
    ({"since": 91, "until": 10**9 + 9}, []),
    ({"ticker": "KXA-1", "since": 91}, ["late"]),
    ({"ticker": "KXA-1", "series": "KXC"}, []),
    ({"ticker": "' OR 1=1 --"}, []),
)


def test_find_meets_all_conditions(kept):
    """Early: ts 10 to 90; late and other: one second later. Both ends of a span are included."""
    kept.save(made("early"))
    kept.save(made("late", later(1)))
    kept.save(made("other", later(1), (Market("KXC-1"), Market("KXD-1", 10))))
    for conditions, names in FOUND:
        assert [entry.name for entry in kept.find(**conditions)] == names, conditions


def test_found_sessions_are_what_an_environment_plays(kept):
    """Episodes go over the markets of the sessions that were found, and over no others."""
    for seed in (1, 2, 3):
        kept.save(synthetic.session(seed=seed, events=2_000))
    found = catalogue.load_found(kept, ticker="SYN-2-000")
    assert [session.name for session in found] == ["synthetic-2"]
    everything = catalogue.load_found(kept, series="SYN")
    env = MarketEnv(everything, market="next", cadence=500)
    played = [env.reset(seed=0 if k == 0 else None)[1]["market"] for k in range(3)]
    assert played == ["SYN-1-000", "SYN-2-000", "SYN-3-000"]
    with pytest.raises(CatalogueError, match="no session meets series='KXA'"):
        catalogue.load_found(kept, series="KXA")


def test_find_by_quality(kept, monkeypatch):
    """A score is from the facts; a session without one meets no condition on it."""
    for name, score in (("bad", 0.2), ("good", 0.9), ("none", None)):
        facts = {} if score is None else {"quality": {"score": score}}
        monkeypatch.setattr("foldbook.adapters.sessions.describe", lambda session, said=facts: said)
        kept.save(made(name))
    assert [entry.quality for entry in kept.list()] == [0.2, 0.9, None]
    assert [entry.name for entry in kept.find(min_quality=0.2)] == ["bad", "good"]
    assert [entry.name for entry in kept.find(min_quality=0.5)] == ["good"]


@pytest.mark.parametrize(
    ("conditions", "text"),
    [({"min_quality": 1.5}, "min_quality: 1.5"), ({"since": 2, "until": 1}, "since: 2 is after")],
)
def test_conditions_that_make_no_sense_are_refused(kept, conditions, text):
    """By name, rather than by finding nothing."""
    kept.save(made())
    with pytest.raises(ValueError, match=text):
        kept.find(**conditions)


def test_names_that_are_no_folder_are_refused(kept):
    """By name; nothing is saved."""
    kept.save(made("other"))
    for name in ("", ".hidden", "../up", "a/b", "a\\b", "a b", "ä", "x" * 129, "a\n", "-a", "a@b"):
        with pytest.raises(CatalogueError, match="cannot name a folder: expected up to 128 let"):
            kept.save(made(), name)
    assert [entry.name for entry in kept.list()] == ["other"]


def test_tickers_with_path_characters_are_refused(kept):
    """By name; nothing is saved."""
    kept.save(made("other"))
    for ticker in ("../../etc/passwd", "KXA/1", "KXA 1", "\0"):
        with pytest.raises(CatalogueError, match="cannot name a file"):
            kept.save(made(markets=(Market("KXA-1"), Market(ticker, 10))))
    assert [entry.name for entry in kept.list()] == ["other"]


def test_what_is_not_there_is_named(kept):
    """By load, facts and remove; also a name that would lead out of the folder."""
    kept.save(made())
    for ask in (kept.load, kept.facts, kept.remove):
        for name in ("three", "../two", ""):
            with pytest.raises(UnknownSessionError, match=f"session {name} is not in "):
                ask(name)


def test_a_place_without_a_catalogue_says_so(place):
    """To whoever reads; the first save makes one."""
    empty = catalogue.open(place)
    for ask in (empty.list, lambda: empty.load("two"), lambda: empty.facts("two"),
                lambda: empty.remove("two")):
        with pytest.raises(CatalogueError, match="holds no catalogue yet; the first save"):
            ask()
    empty.save(made())
    assert len(catalogue.open(place).list()) == 1


def test_migrate_makes_an_empty_catalogue(place):
    """What it did is told once; then there is nothing more to do."""
    assert catalogue.open(place).migrate()
    assert catalogue.open(place).list() == []
    assert list(catalogue.open(place).migrate()) == []


def test_a_removed_session_is_gone(kept, place):
    """From the list, for others, and for good; the rest stays."""
    kept.save(made("a"))
    kept.save(made("b"))
    kept.remove("a")
    for each in (kept, catalogue.open(place)):
        assert [entry.name for entry in each.list()] == ["b"]
    assert kept.load("b") == made()


def test_a_failed_save_leaves_what_was_there(kept, monkeypatch):
    """An error in the last moment before it counts: the older session is there, whole."""
    kept.save(made())

    def fails(*arguments):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("foldbook.adapters.catalogue.index.put", fails)
    monkeypatch.setattr("foldbook.adapters.postgres.catalogue.to_copy", fails)
    for name in ("two", "new"):
        with pytest.raises((CatalogueError, OSError), match="No space left on device"):
            kept.save(made(rows=ROWS[:4]), name)
    monkeypatch.undo()
    assert [(entry.name, entry.events) for entry in kept.list()] == [("two", 15)]
    assert kept.load("two") == made()
    kept.save(made(rows=ROWS[:4]), "new")
    assert len(kept.load("new").tape) == 4


def test_many_writers_at_once(place):
    """Four threads save 20 sessions, half of them under one name: each waits for the other."""
    catalogue.open(place).save(made("shared"))
    errors = []

    def write(number):
        try:
            own = catalogue.open(place)
            for turn in range(5):
                own.save(made(rows=later(number)), "shared" if turn % 2 else f"own-{number}-{turn}")
                assert len(own.load("shared").tape) == len(ROWS)
        except BaseException as error:  # told below, in the thread of the test
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    entries = catalogue.open(place).list()
    assert len(entries) == 13 and not any(entry.is_gone for entry in entries)
    for entry in entries:
        assert catalogue.open(place).load(entry.name).digest == entry.digest


def test_the_environment_names_the_catalogue(place, monkeypatch):
    """FOLDBOOK_CATALOG is all that a user changes."""
    monkeypatch.setenv("FOLDBOOK_CATALOG", str(place))
    catalogue.open().save(made())
    assert catalogue.open().load("two") == made()
    assert [entry.name for entry in catalogue.open(place).list()] == ["two"]


def test_without_a_name_the_catalogue_is_the_users_own(tmp_path, monkeypatch):
    """Below XDG_DATA_HOME; an URL of a scheme that nobody has installed is refused."""
    monkeypatch.delenv("FOLDBOOK_CATALOG", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert catalogue.open().url == str(tmp_path / "foldbook/sessions")
    assert catalogue.open(f"file://{tmp_path}/a%20b").url == f"{tmp_path}/a b"
    with pytest.raises(CatalogueError, match="'mongo' is no catalogue: file, postgres, postgresql"):
        catalogue.open("mongo://host/db")


def test_the_benchmark_checks_its_answers(place, capsys):
    """At toy size: what it saved comes back, and all that it kept is listed."""
    from foldbook.benchmarks import catalogue_rate

    arguments = [str(place), "--events", "2000", "--sessions", "5", "--rounds", "1", "--json"]
    assert catalogue_rate.main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["sessions"] == 7
