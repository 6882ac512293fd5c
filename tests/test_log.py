"""The event log: what was appended is read, whole and in order, or its loss is named."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from logs import any_frame, frames_in, heard, segments, written

from foldbook.adapters.log import (
    Closed,
    Frame,
    Fsync,
    LogBusyError,
    LogDamagedError,
    LogWriteError,
    Opened,
    Reader,
    Reconnected,
    Writer,
    recover,
)
from foldbook.engine import TapeError

HEADER = 36
PREFIX = 16


# The form.


def test_the_form_is_the_one_that_is_documented(tmp_path):
    """A log built by hand from docs/log.md is read, and the writer writes the same bytes."""
    frames = [Opened(1, 0, "wss"), Frame(2, 7, b"{}"), Reconnected(3, 7), Closed(4, 7, "")]
    bodies = [
        b"\x94\x01\x01\x00\xa3wss", b"\x94\x00\x02\x07\xc4\x02{}", b"\x94\x03\x03\x07\xa0",
        b"\x94\x02\x04\x07\xa0",
    ]
    folder = written(tmp_path / "log", frames)
    text = segments(folder)[0].read_bytes()
    log = text[24:32]
    head = struct.pack("<8sIIQ8s", b"foldlog\n", 1, 0, 0, log)
    expected = head + struct.pack("<I", zlib.crc32(head))
    for number, body in enumerate(bodies):
        kept = struct.pack("<IQ", len(body), number) + body
        expected += struct.pack("<I", zlib.crc32(kept, zlib.crc32(log))) + kept
    assert text == expected
    assert [path.name for path in segments(folder)] == ["00000000.segment"]
    assert frames_in(folder) == frames


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(any_frame, max_size=30), st.integers(1, 400), st.data())
def test_what_was_appended_is_read(tmp_path_factory, frames, segment_bytes, data):
    """One by one or in groups, over any number of segments and openings; from any number on."""
    folder = tmp_path_factory.mktemp("log") / "log"
    written(folder, [], segment_bytes)
    rest, numbers = list(frames), []
    while rest:
        count = data.draw(st.integers(1, len(rest)))
        with Writer(folder, fsync=Fsync.NEVER, segment_bytes=segment_bytes) as writer:
            numbers += writer.append_all(rest[:count])
            assert writer.recovery.cut == ()
        del rest[:count]
    assert numbers == list(range(len(frames)))
    assert frames_in(folder) == frames
    begin = data.draw(st.integers(0, len(frames)))
    with Reader(folder) as reader:
        assert [frame for _, frame in reader.read(begin)] == frames[begin:]
    if len(frames) > 1:
        for path in segments(folder)[:-1]:
            first_two = path.read_bytes()[HEADER:]
            assert path.stat().st_size <= segment_bytes or _only_one(first_two)


def _only_one(frames: bytes) -> bool:
    (length,) = struct.unpack_from("<I", frames, 4)
    return len(frames) == PREFIX + length


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (Frame(0, 0, b""), "recv is 0, expected ns between 1 and"),
        (Frame(np.int64(5), 0, b""), "expected ns .* as an int"),
        (Frame(5, -1, b""), "source is -1, expected an int from 0"),
        (Frame(5, 0, "text"), "raw is str, expected bytes"),
        (Opened(5, 0, b"bytes"), "about is bytes, expected str"),
        (Frame(5, 0, bytes(1 << 24)), "raw has 16777216 bytes, expected no more"),
        ((5, 0, b""), "frame is tuple, expected Frame, Opened"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, frame, text):
    """It is refused by field; frames before it in the group are in the log, those after are not."""
    with Writer(tmp_path, fsync=Fsync.NEVER) as writer:
        with pytest.raises((TypeError, ValueError), match=text):
            writer.append_all([heard(0), frame, heard(1)])
        assert writer.next == 1
        assert writer.append(heard(1)) == 1
    assert frames_in(tmp_path) == [heard(0), heard(1)]


def test_the_largest_frame_fits(tmp_path):
    """Its length is below the limit that readers trust."""
    frame = Frame(9 * 10**18, 2**31 - 1, bytes((1 << 24) - 64))
    assert frames_in(written(tmp_path, [frame, heard(1)])) == [frame, heard(1)]


# Durability.


def test_each_policy_acknowledges_when_it_says(tmp_path):
    """EACH after every frame or group; every(...) by number, by the frames' time, or by the time
    that is told; NEVER only when asked."""

    def durable(policy, frames):
        with Writer(tmp_path / str(len(list(tmp_path.iterdir()))), fsync=policy) as writer:
            return [(writer.append(frame), writer.durable)[1] for frame in frames]

    slow = [Frame(1 + number * 40_000_000, 0, b"") for number in range(6)]
    assert durable(Fsync.EACH, slow) == [1, 2, 3, 4, 5, 6]
    assert durable(Fsync.every(frames=4), slow) == [0, 0, 0, 4, 4, 4]
    assert durable(Fsync.every(ms=100), slow) == [0, 0, 0, 4, 4, 4]
    assert durable(Fsync.every(ms=100, frames=2), slow) == [0, 2, 2, 4, 4, 6]
    assert durable(Fsync.every(ms=100), slow[::-1]) == [0, 2, 2, 4, 4, 6], "a clock set back"
    assert durable(Fsync.NEVER, slow) == [0, 0, 0, 0, 0, 0]
    with Writer(tmp_path / "told", fsync=Fsync.every(ms=100)) as writer:
        writer.append(slow[0])
        assert [writer.tick(1 + at) for at in (99_999_999, 100_000_000)] == [0, 1]
    with Writer(tmp_path / "group", fsync=Fsync.EACH) as writer:
        assert (writer.append_all(slow), writer.durable) == (range(6), 6)
    with Writer(tmp_path / "never", fsync=Fsync.NEVER) as writer:
        writer.append_all(slow)
        assert (writer.durable, writer.flush(), writer.durable) == (0, 6, 6)


@pytest.mark.parametrize("arguments", [{}, {"ms": 0}, {"frames": -1}, {"ms": 1.5}])
def test_a_policy_that_says_nothing_is_refused(arguments):
    """Whole numbers of at least one, of one or both."""
    with pytest.raises(ValueError, match="expected"):
        Fsync.every(**arguments)


def full(folder: str) -> None:
    """Append until the file may not grow, twice, then where it may; print what was said."""
    import resource

    with Writer(folder, fsync=Fsync.EACH) as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
        for _ in range(2):
            try:
                for number in range(writer.next, 10**6):
                    writer.append(heard(number))
            except LogWriteError as error:
                print(error)
        print(writer.next, writer.durable)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        writer.append(heard(writer.next))


def test_a_full_disk_is_named_and_costs_nothing_that_was_there(tmp_path):
    """One line says which frame was not appended; those before it are intact, and the same writer
    goes on once there is room."""
    code = f"import test_log; test_log.full({str(tmp_path / 'log')!r})"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True,
        check=True,
    )
    first, second, ends = ran.stdout.splitlines()
    following, durable = map(int, ends.split())
    path = segments(tmp_path / "log")[0]
    assert first == second == f"{path}: frame {following} was not appended: File too large"
    assert durable == following > 50
    assert frames_in(tmp_path / "log") == [heard(number) for number in range(following + 1)]


def test_no_room_for_the_next_segment_leaves_the_log_whole(tmp_path):
    """Where its file cannot be made, the error says so, and nothing half-made is left."""
    with Writer(tmp_path, segment_bytes=1) as writer:
        writer.append(heard(0))
        (tmp_path / "00000001.segment").mkdir()
        with pytest.raises(LogWriteError, match="00000001.segment: was not begun: File exists"):
            writer.append(heard(1))
        (tmp_path / "00000001.segment").rmdir()
        assert writer.append(heard(1)) == 1
    assert frames_in(tmp_path) == [heard(0), heard(1)]


def test_after_a_failed_fsync_nothing_more_is_acknowledged(tmp_path):
    """What the system then holds nobody knows: the log must be opened again."""
    writer = Writer(tmp_path, fsync=Fsync.every(frames=2))
    writer.append(heard(0))
    read_only = os.open(os.devnull, os.O_RDONLY)
    reads, pipe = os.pipe()
    kept = os.dup(writer._file)
    os.dup2(pipe, writer._file)  # a pipe takes bytes and cannot be made durable
    with pytest.raises(LogWriteError, match="may not be durable, open the log again: Invalid"):
        writer.append(heard(1))
    assert writer.durable == 0
    with pytest.raises(LogWriteError, match="open the log again"):
        writer.append(heard(2))
    with pytest.raises(LogWriteError, match="open the log again"):
        writer.flush()
    writer.close()
    for file in (read_only, reads, pipe, kept):
        os.close(file)
    with Writer(tmp_path) as again:
        assert again.next == 1
    with pytest.raises(LogWriteError, match="the log is closed"):
        again.append(heard(1))


# One writer.


def test_a_second_writer_is_told_who_holds_the_log(tmp_path):
    """By name and process; once the first is gone it may write."""
    with Writer(tmp_path, holder="recorder 7") as writer:
        writer.append(heard(0))
        text = f"is being written by recorder 7, process {os.getpid()}"
        with pytest.raises(LogBusyError, match=text):
            Writer(tmp_path)
        with pytest.raises(LogBusyError, match=text):
            recover(tmp_path)
        assert writer.append(heard(1)) == 1, "the first one is not disturbed"
    with Writer(tmp_path) as writer:
        assert writer.next == 2


# Readers beside the writer.


def test_a_reader_follows_the_writer(tmp_path):
    """It sees every frame once, in order, over segment ends, as soon as it is appended; also those
    of a later writer."""
    frames = [heard(number) for number in range(40)]
    seen = []
    with Writer(tmp_path, fsync=Fsync.NEVER, segment_bytes=200) as writer:
        rest = iter(frames)

        def write_some():
            for _ in range(3):
                frame = next(rest, None)
                if frame is None:
                    return False
                writer.append(frame)
            assert len(seen) == writer.next - 3
            return True

        with Reader(tmp_path) as reader:
            for pair in reader.follow(write_some):
                seen.append(pair)  # `write_some` looks at it meanwhile
            seen += list(reader.read())
            assert reader.next == 40
            with pytest.raises(StopIteration):
                next(reader.read())
            writer.append(heard(40))
            assert list(reader.read()) == [(40, heard(40))]
    assert [frame for _, frame in seen] == frames


def test_a_frame_is_seen_only_when_it_is_whole(tmp_path):
    """A file that grows byte by byte shows each frame at its last byte, and never an error."""
    frames = [heard(number) for number in range(6)]
    source = segments(written(tmp_path / "whole", frames))[0].read_bytes()
    growing = tmp_path / "growing"
    growing.mkdir()
    path = growing / "00000000.segment"
    path.write_bytes(b"")
    seen = []
    with Reader(growing) as reader, path.open("ab", buffering=0) as file:
        for at in range(len(source)):
            file.write(source[at : at + 1])
            new = list(reader.read())
            assert len(new) <= 1
            if new:
                seen += new
                assert frames_in(growing) == frames[: len(seen)]
    assert [frame for _, frame in seen] == frames


def test_frames_that_are_gone_or_not_yet_there_are_named(tmp_path):
    """The error says where the log begins, or ends."""
    written(tmp_path, [heard(number) for number in range(10)], segment_bytes=60)
    for path in segments(tmp_path)[:3]:
        path.unlink()
    with Reader(tmp_path) as reader:
        first = next(reader.read())[0]
        assert first > 0
        with pytest.raises(TapeError, match=f"frame 0 is no longer in the log, .* frame {first}"):
            next(reader.read(0))
        with pytest.raises(TapeError, match="frame 11 is not yet in the log, .* before frame 10"):
            next(reader.read(11))
        assert list(reader.read(10)) == []
        assert [number for number, _ in reader.read(first)] == list(range(first, 10))
    with pytest.raises(TapeError, match="nowhere: is no log: No such file"):
        Reader(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TapeError, match="empty: is no log: it holds no segment"):
        Reader(tmp_path / "empty")


# Damage.

FRAMES = [heard(number) for number in range(12)]


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """A log of one segment, and one of several, with the same twelve frames."""
    folder = tmp_path_factory.mktemp("logs")
    written(folder / "one", FRAMES)
    written(folder / "several", FRAMES, segment_bytes=150)
    assert len(segments(folder / "several")) > 3
    return folder


def copied(folder: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to)
    return to


def held(folder: Path) -> list:
    """Recover a log, write one frame more, and return those that were there before."""
    was = recover(folder)
    found = frames_in(folder)
    assert was.next == len(found)
    with Writer(folder, fsync=Fsync.NEVER) as writer:
        assert writer.recovery.cut == ()
        assert writer.append(heard(99)) == len(found)
    assert frames_in(folder) == [*found, heard(99)]
    return found


@pytest.mark.parametrize("name", ["one", "several"])
def test_wherever_the_end_is_cut_the_rest_is_a_prefix(logs, tmp_path, name):
    """At every byte of the last segment: a writer that died there lost what was not whole, what it
    cut is said to the byte, and it goes on with the next number."""
    for size in range(segments(logs / name)[-1].stat().st_size + 1):
        folder = copied(logs / name, tmp_path / "log")
        os.truncate(segments(folder)[-1], size)
        before = sum(path.stat().st_size for path in segments(folder))
        found = recover(folder)
        after = sum(path.stat().st_size for path in segments(folder))
        assert sum(tail.bytes for tail in found.cut) == before - after
        if found.cut:
            assert found.cut[0].offset == (0 if size < HEADER else size - found.cut[0].bytes)
            assert found.cut[0].after == found.next - 1
        assert held(folder) == FRAMES[: found.next]


@settings(max_examples=150, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_byte_may_be_wrong(logs, tmp_path, data):
    """A flipped bit, overwritten bytes, or a hole anywhere: recovery gives a prefix or names the
    damage, and with keep_going whatever is read was appended, in its place."""
    folder = copied(logs / data.draw(st.sampled_from(["one", "several"])), tmp_path / "log")
    path = data.draw(st.sampled_from(segments(folder)))
    text = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(text) - 1))
    kind = data.draw(st.sampled_from(["flip", "bytes", "drop", "insert", "cut"]))
    if kind == "flip":
        text[at] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "bytes":
        new = data.draw(st.binary(min_size=1, max_size=40))
        text[at : at + len(new)] = new
    elif kind == "drop":
        del text[at : at + data.draw(st.integers(1, 60))]
    elif kind == "insert":
        text[at:at] = data.draw(st.binary(min_size=1, max_size=40))
    else:
        del text[at:]
    path.write_bytes(text)
    with Reader(folder, keep_going=True) as reader:
        read = list(reader.read())
        lost = {number for each in reader.damage
                for number in range(each.frame, each.frame + each.frames)}
    numbers = [number for number, _ in read]
    assert all(frame == FRAMES[number] for number, frame in read)
    assert numbers == sorted(set(numbers))
    assert lost.isdisjoint(numbers)
    assert lost | set(numbers) == set(range(max([*lost, *numbers], default=-1) + 1))
    try:
        found = recover(folder)
    except TapeError as error:
        fault = error
    else:
        assert numbers == list(range(found.next))
        assert held(folder) == FRAMES[: found.next]
        return
    assert "\n" not in str(fault)
    if not isinstance(fault, LogDamagedError):
        assert "of another log" in str(fault) or "written by another version" in str(fault)
        return
    assert f"{fault.path}: damaged at offset {fault.offset}, frame {fault.frame}" in str(fault)
    with Writer(folder, fsync=Fsync.NEVER, keep_going=True) as writer:
        writer.append(heard(99))
    with Reader(folder, keep_going=True) as reader:
        assert list(reader.read())[-1] == (writer.next - 1, heard(99))


def damaged(folder: Path, segment: int, at: int, text: bytes) -> Path:
    path = segments(folder)[segment]
    with path.open("r+b") as file:
        file.seek(at)
        file.write(text)
    return path


def offset_of(number: int) -> int:
    """Return where a frame of the log of one segment stands."""
    sizes = [PREFIX + len(msgspec.msgpack.encode(frame)) for frame in FRAMES[:number]]
    return HEADER + sum(sizes)


def test_damage_before_the_end_is_never_cut(logs, tmp_path):
    """Frame 3 does not read, frame 4 does: the error names segment, offset and frame, no byte is
    changed; told to keep going a reader counts frame 3 alone."""
    folder = copied(logs / "one", tmp_path / "log")
    path = damaged(folder, 0, offset_of(3) + PREFIX + 2, b"\xff")
    text = path.read_bytes()
    said = f"{path}: damaged at offset {offset_of(3)}, frame 3: its checksum is wrong"
    for attempt in (recover, Writer, lambda folder: frames_in(folder)):
        with pytest.raises(LogDamagedError) as caught:
            attempt(folder)
        assert str(caught.value) == said
        assert path.read_bytes() == text
    with Reader(folder, keep_going=True) as reader:
        assert [number for number, _ in reader.read()] == [0, 1, 2, *range(4, 12)]
        [lost] = reader.damage
    assert str(lost) == (f"segment 0, offset {offset_of(3)}: its checksum is wrong; "
                         "frame 3 is lost")


def test_a_length_of_garbage_allocates_nothing(logs, tmp_path):
    """Four gigabytes that the file does not have are not asked for: at the end they are a torn
    tail, before it damage."""
    import resource

    folder = copied(logs / "one", tmp_path / "log")
    damaged(folder, 0, offset_of(11) + 4, b"\xff\xff\xff\xff")
    [cut] = recover(folder).cut
    assert (cut.after, cut.why) == (10, "its length is no length")
    folder = copied(logs / "one", tmp_path / "log")
    damaged(folder, 0, offset_of(5) + 4, b"\x00\x00\xff\x00")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(LogDamagedError, match="frame 5: it is cut short"):
        recover(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def test_a_missing_segment_is_damage(logs, tmp_path):
    """The frames that it held are named, and counted by a reader that goes on."""
    folder = copied(logs / "several", tmp_path / "log")
    gone = segments(folder)[1]
    second = struct.unpack_from("<Q", gone.read_bytes(), 16)[0]
    third = struct.unpack_from("<Q", segments(folder)[2].read_bytes(), 16)[0]
    gone.unlink()
    with pytest.raises(LogDamagedError, match=f"begins with frame {third}, expected {second}"):
        recover(folder)
    with Reader(folder, keep_going=True) as reader:
        assert [number for number, _ in reader.read()] == [*range(second), *range(third, 12)]
        assert [(each.frame, each.frames) for each in reader.damage] == [(second, third - second)]


def test_a_segment_with_a_damaged_header_gives_its_frames_to_who_keeps_going(logs, tmp_path):
    """Frames carry their numbers, so that none is lost with the header, in any segment."""
    for name, segment in (("one", 0), ("several", 0), ("several", 1), ("several", -1)):
        for at in (0, 9, 17, 33):
            folder = copied(logs / name, tmp_path / "log")
            damaged(folder, segment, at, b"\xee")
            with pytest.raises(LogDamagedError, match="offset 0, frame .*: its header is damaged"):
                recover(folder)
            assert frames_in(folder, keep_going=True) == FRAMES


def test_a_segment_of_another_log_or_version_is_refused(logs, tmp_path):
    """It is never read as if it belonged here."""
    folder = copied(logs / "several", tmp_path / "log")
    other = written(tmp_path / "other", FRAMES, segment_bytes=150)
    shutil.copy(segments(other)[1], segments(folder)[1])
    with pytest.raises(TapeError, match="00000001.segment: is of another log"):
        recover(folder)
    head = bytearray(segments(logs / "one")[0].read_bytes())
    head[8] = 2
    head[32:36] = struct.pack("<I", zlib.crc32(head[:32]))
    (tmp_path / "new").mkdir()
    (tmp_path / "new/00000000.segment").write_bytes(head)
    with pytest.raises(TapeError, match="00000000.segment: version is 2, written by another"):
        frames_in(tmp_path / "new")


def test_what_another_version_framed_is_named(tmp_path):
    """A body with a sound checksum that is no frame of this version: by number, and counted."""
    folder = written(tmp_path, [heard(0), heard(1), heard(2)])
    path = segments(folder)[0]
    text = bytearray(path.read_bytes())
    at = offset_of(1)
    (length,) = struct.unpack_from("<I", text, at + 4)
    text[at + PREFIX + 1] = 9
    crc = zlib.crc32(text[at + 4 : at + PREFIX + length], zlib.crc32(text[24:32]))
    text[at : at + 4] = struct.pack("<I", crc)
    path.write_bytes(text)
    with pytest.raises(LogDamagedError, match="frame 1: no frame of this version: Invalid value 9"):
        frames_in(folder)
    with Reader(folder, keep_going=True) as reader:
        assert [number for number, _ in reader.read()] == [0, 2]
        assert [(each.frame, each.frames) for each in reader.damage] == [(1, 1)]


def test_room_that_was_never_written_is_a_torn_tail(logs, tmp_path):
    """After a loss of power a file may end in zeros, or hold nothing else."""
    folder = copied(logs / "one", tmp_path / "log")
    with segments(folder)[0].open("ab") as file:
        file.write(bytes(5000))
    [cut] = recover(folder).cut
    assert (cut.bytes, cut.after, cut.why) == (5000, 11, "its length is no length")
    (folder / "00000001.segment").write_bytes(bytes(5000))
    [cut] = recover(folder).cut
    assert (cut.segment, cut.bytes, cut.is_header) == (1, 5000, True)
    assert held(folder) == FRAMES
