"""Turns by hand."""

from elman_server.door.oip.answer_order import AnswerOrder


def test_a_line_is_answered_in_its_order_and_lines_do_not_wait_for_each_other() -> None:
    sent: list[str] = []
    turns = AnswerOrder(sent.append, one_line=False)
    a, b, other = turns.join("line"), turns.join("line"), turns.join("other")
    turns.answer(b, "b", final=True)
    turns.answer(other, "other", final=True)
    assert sent == ["other"]
    turns.answer(a, "a, a part", final=False)
    turns.answer(a, "a", final=True)
    assert sent == ["other", "a, a part", "a", "b"]


def test_parts_that_waited_are_sent_before_those_that_come_later() -> None:
    sent: list[str] = []
    turns = AnswerOrder(sent.append, one_line=False)
    a, b, c = (turns.join("line") for _ in range(3))
    turns.answer(b, "b, a part", final=False)
    turns.answer(c, "c", final=True)
    turns.answer(a, "a", final=True)
    assert sent == ["a", "b, a part"]
    turns.answer(b, "b", final=True)
    assert sent == ["a", "b, a part", "b", "c"]


def test_requests_without_a_line_are_answered_at_once_unless_there_is_one_line_for_all() -> None:
    for one_line, expected in ((False, ["second", "first"]), (True, ["first", "second"])):
        sent: list[str] = []
        turns = AnswerOrder(sent.append, one_line=one_line)
        first, second = turns.join(""), turns.join("")
        turns.answer(second, "second", final=True)
        turns.answer(first, "first", final=True)
        assert sent == expected
