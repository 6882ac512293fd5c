"""Journal files: they come back byte for byte, or an error says where they are damaged."""

import re
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldbook.adapters import journals
from foldbook.engine.errors import JournalError
from foldbook.engine.schema import JOURNAL_DTYPE

HEADER = {"strategy": "module:Name", "params": {"size": 10}, "seed": 7, "session": {"path": "süß"}}
ROWS = 300


def a_journal(count=ROWS, seed=1):
    random = np.random.default_rng(seed)
    bytes_ = random.integers(0, 256, count * JOURNAL_DTYPE.itemsize, dtype=np.uint8)
    return bytes_.view(JOURNAL_DTYPE), np.sort(random.integers(0, 10**12, count))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Let a few rows make several blocks."""
    monkeypatch.setattr(journals, "BLOCK_ROWS", 128)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The bytes of a journal file of three blocks, and a path for damaged copies."""
    path = tmp_path_factory.mktemp("journal") / "run.journal"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journals, "BLOCK_ROWS", 128)
        journals.save(path, *a_journal(), HEADER)
    return path.read_bytes(), path.with_name("damaged.journal")


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, ROWS])
def test_round_trip(tmp_path, count):
    """Header, rows and places come back as they were, whatever their number."""
    rows, places = a_journal(count)
    journals.save(tmp_path / "j", rows, places, HEADER)
    header, loaded, loaded_places = journals.load(tmp_path / "j")
    assert header == HEADER
    assert loaded.tobytes() == rows.tobytes()
    assert loaded.dtype == JOURNAL_DTYPE
    assert loaded_places.tolist() == places.tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["j"]


def test_nothing_half_written(tmp_path, monkeypatch):
    """When writing fails, the file that was there is still there, and nothing else."""
    journals.save(tmp_path / "j", *a_journal(3), HEADER)
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(TypeError):
        journals.save(tmp_path / "j", *a_journal(5), {"strategy": object()})
    monkeypatch.setattr(journals.os, "fsync", lambda handle: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        journals.save(tmp_path / "j", *a_journal(5), HEADER)
    assert (tmp_path / "j").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["j"]


def test_rows_and_places_go_together(tmp_path):
    """Rows of another type, or places for other rows, are refused before anything is written."""
    rows, places = a_journal(3)
    for wrong in ((rows, places[:2]), (rows.view("u1"), places)):
        with pytest.raises(JournalError, match="do not go together"):
            journals.save(tmp_path / "j", *wrong, HEADER)
    assert not list(tmp_path.iterdir())


def test_every_flipped_bit_is_found(saved):
    """A flipped bit anywhere is an error: in each byte of what frames the rows, and in others."""
    data, path = saved
    framing = {*range(400), *range(len(data) - 400, len(data)), *range(0, len(data), 97)}
    framing |= {place for block in (b"ROWS", b"DONE") for found in re.finditer(block, data)
                for place in range(found.start() - 8, found.start() + 16)}
    for place in sorted(framing & {*range(len(data))}):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(JournalError, match="damaged|cut off|newer|no foldbook|cannot read"):
            journals.load(path)


@given(cut=st.integers(0, 10**6))
def test_every_cut_is_found(saved, cut):
    """A file that ends early, wherever it ends, is cut off or no journal, and says at what byte."""
    data, path = saved
    cut %= len(data)
    path.write_bytes(data[:cut])
    where = f"cut off at byte {cut}, within" if cut >= 8 else "does not begin with its magic"
    with pytest.raises(JournalError, match=where):
        journals.load(path)


def test_damage_is_named(saved):
    """The error names the rows of the block, or the row in which the file ends."""
    data, path = saved
    second = data.index(b"ROWS", data.index(b"ROWS") + 1)
    damaged = bytearray(data)
    damaged[second + 1000] ^= 4
    path.write_bytes(damaged)
    with pytest.raises(JournalError, match=rf"{path}: damaged between bytes {second} and \d+: the "
                       "checksum of rows 128 to 255 is wrong"):
        journals.load(path)
    path.write_bytes(data[: second + 8 + 5 * JOURNAL_DTYPE.itemsize + 3])
    with pytest.raises(JournalError, match=r"within row 133 \(of rows 128 to 255\)"):
        journals.load(path)
    path.write_bytes(data[: data.index(b"DONE")])
    with pytest.raises(JournalError, match="within the end after row 299"):
        journals.load(path)


def test_a_block_that_is_gone_is_missed(saved):
    """Whole blocks can be taken out or put in only by making another end."""
    data, path = saved
    second = data.index(b"ROWS", data.index(b"ROWS") + 1)
    end = data.index(b"DONE")
    path.write_bytes(data[:second] + data[end:])
    with pytest.raises(JournalError, match="that of 300 other rows, not of 128"):
        journals.load(path)
    path.write_bytes(data + b"more")
    with pytest.raises(JournalError, match=f"bytes {len(data)} to {len(data) + 4} follow its end"):
        journals.load(path)


@pytest.mark.parametrize(("offset", "name"), [(8, "format"), (10, "schema")])
def test_newer_versions_are_refused_by_name(saved, offset, name):
    """A journal of a later release is not called damaged, though its layout may be another."""
    data, path = saved
    [known] = struct.unpack_from("<H", data, offset)
    path.write_bytes(data[:offset] + struct.pack("<H", known + 1) + data[offset + 2 :])
    expected = f"{name} {known + 1} is newer than this release, which knows {known}"
    with pytest.raises(JournalError, match=expected):
        journals.load(path)


def test_other_files_are_no_journals(tmp_path):
    """A text file is refused by what it lacks, and a missing one as the system does."""
    (tmp_path / "j").write_text("ts,price\n")
    with pytest.raises(JournalError, match="no foldbook journal"):
        journals.load(tmp_path / "j")
    with pytest.raises(FileNotFoundError):
        journals.load(tmp_path / "none")
