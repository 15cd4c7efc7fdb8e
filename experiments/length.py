"""Which positional encoding lets a decoder answer inputs longer than those it was trained on?

A small decoder is trained on an algorithmic task with inputs of 1 to n symbols (n is 10; 6 pairs for associative
recall) and asked, after its last update, about inputs of n + 1 to 2n symbols (`2x`) and of 2n + 1 to 4n (`4x`).
Whole answers beyond the training lengths are rare at this size, so what decides is the share of right tokens at `2x`
(`accuracy`, each token predicted from the right ones before it). `4x`, whole answers (`exact_match`) and `valid` (the
lengths of training) are secondary: a scheme that has not learned the task within its lengths says nothing about
others.

`learned` ends where the training rows end: the longer tests are not applicable to it, and the report says so. Of the
variants of `rope` that rescale positions only `rope_dynamic_ntk` is here: it alone changes with the length of what
it reads, where the others would be trained as they are tested.

    python -m transformer_jax study run experiments/length.py --workdir=runs/length
    python -m transformer_jax study run experiments/length.py:addition --workdir=runs/length_addition

Modes: copy (the default), reverse, sort, addition, associative_recall, smoke. Held equal: data and their order,
updates, recipe, width, depth. A run takes about a minute on two CPU cores. With `rope`, after 700 updates, copying,
reversal and sorting are learned within their lengths (0.98 or more of the answers are right); associative recall (0.5)
and addition (0.05) are not, and need more: `--config.train.steps=…`.
"""

from transformer_jax import config
from transformer_jax.study import Goal, Study, claim, param

POSITIONS = (
    "rope",
    "none",
    "sinusoidal",
    "learned",
    "alibi",
    "t5",
    "kerple",
    "fire",
    "cope",
    "shaw",
    "transformer_xl",
    "rope_dynamic_ntk",
)

# Task -> the greatest length in training, and the tokens of a row that holds it: prompt, EOS and answer.
TASKS = {
    "copy": (10, 24),
    "reverse": (10, 24),
    "sort": (10, 24),
    "addition": (10, 40),
    "associative_recall": (6, 16),
}


def get_study(mode: str | None = None) -> Study:
    config.check_mode(mode, "smoke", *TASKS)
    task = mode if mode in TASKS else "copy"
    longest, row = TASKS[task]
    base = config.base()
    base.model.layers, base.model.stack = 4, "unroll"
    base.model.width = 64
    base.data.corpus = f"{task}(train=(1, {longest}), held_out=500)"
    base.data.view = "prompt_answer"
    base.data.length = row
    base.data.batch_size = 32
    base.optim.learning_rate = 3e-3
    base.train.steps = 700
    base.train.eval_every = 175
    base.train.eval_batches = 0
    base.run.checkpoint_every = 700
    base.run.keep_checkpoints = 1
    if mode == "smoke":
        config.smoke(base)
        base.data.source_length = row
    tested = 20 if mode == "smoke" else 500
    base.data.tests = "; ".join(
        f"{factor}x: {task}(test=({factor * longest // 2 + 1}, {factor * longest}), examples=1, held_out={tested})"
        for factor in (2, 4)
    )
    return Study(
        name=f"length_{task}",
        question=f"Which positional encoding answers {task.replace('_', ' ')} beyond the lengths it was trained on?",
        base=base,
        grid=param("model.position", POSITIONS, name=""),
        baseline="rope",
        seeds=2 if mode == "smoke" else 3,
        goal=Goal("2x/accuracy", "max"),
        also=(Goal("4x/accuracy", "max"), Goal("2x/exact_match", "max"), Goal("valid/exact_match", "max")),
        claims=(
            claim("alibi > sinusoidal", source="Press et al. 2022 (sinusoids extrapolate worst)"),
            claim("alibi > rope", source="Press et al. 2022"),
            claim("none > rope", source="Kazemnejad et al. 2023 (without positions: best beyond the length)"),
            claim("none > alibi", source="Kazemnejad et al. 2023"),
        ),
    )
