"""An optimizer step is the same, however it is shared; and the logits are no more than needed."""

from pathlib import Path

import pytest
import torch

from scripts.lib.errors import UserError
from scripts.lib.training.batches import micro_batches, shares, steps_of_training
from scripts.lib.training.run import fine_tune
from tests.training.learning import random_rows, settings
from tests.training.on_cpu import in_float32

ROWS = random_rows(11)


def test_shares_have_about_as_many_tokens() -> None:
    assert shares([9, 1, 5, 5, 2, 2], 2) == [[0, 4, 1], [2, 3, 5]]
    assert shares([3, 4], 4) == [[1], [0], [], []]
    for number in (1, 2, 3, 4):
        dealt = shares([len(row.tokens) for row in ROWS], number)
        assert sorted(at for share in dealt for at in share) == list(range(len(ROWS)))
        assert max(map(len, dealt)) == -(-len(ROWS) // number)


@pytest.mark.parametrize(("processes", "accumulation"), [(1, 1), (1, 3), (2, 1), (2, 2), (4, 1)])
def test_the_shares_of_a_step_are_its_examples(processes: int, accumulation: int) -> None:
    some = settings(accumulation=accumulation)
    each = [micro_batches(ROWS, some, processes, process) for process in range(processes)]
    steps = steps_of_training(len(ROWS), some)
    assert [len(step) for step in steps] == [4, 4, 3] * 2
    for number, step in enumerate(steps):
        first = number * accumulation
        shared = [batch for batches in each for batch in batches[first : first + accumulation]]
        found = [row.tokens for batch in shared for row in batch.rows]
        assert sorted(found) == sorted(ROWS[at].tokens for at in step)
        assert {batch.step_tokens for batch in shared} == {sum(ROWS[at].learnt for at in step)}


def test_each_epoch_sees_every_row_once_and_in_an_order_of_its_own() -> None:
    steps = steps_of_training(11, settings())
    first, second = ([at for step in half for at in step] for half in (steps[:3], steps[3:]))
    assert sorted(first) == sorted(second) == list(range(11))
    assert first != second
    assert steps_of_training(11, settings()) == steps != steps_of_training(11, settings(seed=4))


def test_more_shares_than_examples_are_refused() -> None:
    with pytest.raises(UserError, match="training.batch_size in config.yaml to at least 6"):
        micro_batches(ROWS, settings(accumulation=3), processes=2, process=0)


@pytest.mark.parametrize(
    "change",
    [
        {"accumulation": 4},
        {"gradient_checkpointing": True},
        {"gradient_checkpointing": True, "accumulation": 2},
        {"pack": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["lora", "full"])
def test_how_a_step_is_computed_changes_nothing(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict, method: str
) -> None:
    in_float32(monkeypatch.setattr)

    def trained(pack: bool = True, **changes: object) -> tuple[list, dict]:
        some = settings(method=method, learning_rate=1e-3, **changes)
        tuned = fine_tune(str(tiny_model), ROWS, some, tmp_path, pack=pack)
        return tuned.curve, tuned.model.state_dict()

    curve, weights = trained()
    other_curve, other_weights = trained(**change)
    assert len(curve) == 6
    for row, other in zip(curve, other_curve, strict=True):
        assert other == pytest.approx(row, rel=1e-4)
    for name, weight in weights.items():
        torch.testing.assert_close(other_weights[name], weight, rtol=1e-3, atol=1e-5)
