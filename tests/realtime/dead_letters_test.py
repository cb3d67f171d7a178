"""The dead-letter file: all that was said of an event, whatever its bytes, also after a death."""

import base64
import json
from pathlib import Path

from mim_tf.realtime.dead_letters import DeadLetters
from mim_tf.realtime.event import Message


def letters_in(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_events_come_back_as_they_were(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "dead.jsonl")
    letters.keep([])
    assert not letters.path.exists()
    letters.keep([(Message(b'{"a": "\n\xc3\xbc"}', "a.jsonl, byte 0", 0.0), "no JSON")])
    letters.keep([(Message(b"\xff\x00", "a.jsonl, byte 9", 0.0), "no JSON")])
    text, binary = letters_in(letters.path)
    assert (text["event"], text["origin"], text["reason"]) == ('{"a": "\n\u00fc"}', "a.jsonl, byte 0", "no JSON")
    assert base64.b64decode(binary["event_base64"]) == b"\xff\x00"


def test_a_half_written_letter_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    path.write_text('{"reason": "x", "ev')
    DeadLetters(path).keep([(Message(b"{}", "here", 0.0), "y")])
    assert json.loads(path.read_text().splitlines()[1])["reason"] == "y"
    assert path.read_text().endswith("\n")
