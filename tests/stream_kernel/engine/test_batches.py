"""How a batch is cut into commands."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fake_engine import packed
from stream_kernel.engine.batches import by_group, cut
from stream_kernel.engine.settlement import Step
from stream_kernel.routing.items import InputItem


def step(number: int, weight: int = 1, group: str = "A") -> Step:
    return Step((0, number, 0, ()), number, group, InputItem(packed(number), "a"), weight)


def counts(batch: list[Step], pieces: int, limit: int = 1 << 20) -> list[int]:
    return [len(part) for part, _ in cut(batch, pieces, limit)]


def test_the_pieces_of_a_batch_have_equally_many_inputs_give_or_take_one() -> None:
    assert counts([step(n) for n in range(10)], 1) == [10]
    assert sorted(counts([step(n) for n in range(10)], 3)) == [3, 3, 4]
    assert sorted(counts([step(n) for n in range(11)], 4)) == [2, 3, 3, 3]


def test_no_batch_is_too_small_to_be_split_and_no_piece_is_empty() -> None:
    assert counts([step(0), step(1)], 2) == [1, 1]
    assert counts([step(0), step(1)], 5) == [1, 1]
    assert counts([step(0)], 5) == [1]


def test_a_piece_that_is_too_large_for_a_frame_is_cut_once_more() -> None:
    assert counts([step(n, 40) for n in range(6)], 2, 100) == [2, 1, 2, 1]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 8), st.integers(10, 200))
def test_what_is_cut_is_the_batch_in_order_within_the_limit_and_with_its_size(weights: list[int], pieces: int, limit: int) -> None:
    batch = [step(number, weight) for number, weight in enumerate(weights)]
    parts = list(cut(batch, pieces, limit))
    assert [each for part, _ in parts for each in part] == batch
    assert all(part and size == sum(each.weight for each in part) for part, size in parts)
    assert all(size <= limit or len(part) == 1 for part, size in parts)
    assert max(len(part) for part, _ in parts) <= -(-len(batch) // min(pieces, len(batch)))
    assert len(parts) >= min(pieces, len(batch))


def test_groups_come_in_the_order_of_their_first_steps() -> None:
    steps = [step(0, group="B"), step(1, group="A"), step(2, group="B")]
    assert {group: [each.root for each in batch] for group, batch in by_group(steps).items()} == {"B": [0, 2], "A": [1]}
    assert list(by_group(steps)) == ["B", "A"]
    assert by_group([]) == {}
