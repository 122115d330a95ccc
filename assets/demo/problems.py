"""The addition problems of the demo: questions in two languages, two ways to answer, and a split that holds some out."""

import hashlib
import random
import re
from dataclasses import dataclass

LANGUAGES = ("en", "ja")
LARGEST = 39
COUNTS = range(2, 8)
HELD_OUT_COUNTS = range(4, 8)


@dataclass(frozen=True)
class Problem:
    """Numbers to add up."""

    numbers: tuple[int, ...]

    @property
    def answer(self) -> int:
        """The right answer."""
        return sum(self.numbers)

    @property
    def held_out(self) -> bool:
        """Whether training must never see this problem, in any order of its numbers: true of every eighth, by hash."""
        key = ",".join(map(str, sorted(self.numbers)))
        return hashlib.sha256(key.encode()).digest()[0] % 8 == 0

    def question(self, language: str) -> str:
        """The prompt, up to where the answer starts."""
        if language == "ja":
            return f"問題:{'と'.join(map(str, self.numbers))}の合計は?\n答え:"
        return f"Question: sum of {', '.join(map(str, self.numbers))}?\nAnswer:"

    def direct(self) -> str:
        """The answer and nothing else."""
        return f" {self.answer}"

    def steps(self) -> str:
        """The answer reached one addition at a time: ` 3+8=11, 11+5=16`."""
        total, parts = self.numbers[0], []
        for number in self.numbers[1:]:
            parts.append(f"{total}+{number}={total + number}")
            total += number
        return " " + ", ".join(parts)


def draw(rng: random.Random, counts: range = COUNTS) -> Problem:
    """Any problem, held out or not."""
    return Problem(tuple(rng.randint(1, LARGEST) for _ in range(rng.choice(counts))))


def draw_for_training(rng: random.Random) -> Problem:
    """A problem that training may see."""
    while (problem := draw(rng)).held_out:
        pass
    return problem


def held_out_problems(n: int, seed: int = 0) -> list[Problem]:
    """`n` different held-out problems of 4 to 7 numbers, the same ones every time."""
    rng = random.Random(seed)
    found: dict[Problem, None] = {}
    while len(found) < n:
        problem = draw(rng, HELD_OUT_COUNTS)
        if problem.held_out:
            found[problem] = None
    return list(found)


def is_right(problem: Problem, answer: str) -> bool:
    """Whether the last number of an answer is the right one."""
    numbers = re.findall(r"\d+", answer)
    return bool(numbers) and int(numbers[-1]) == problem.answer


def is_in_steps(answer: str) -> bool:
    """Whether an answer shows its additions."""
    return "=" in answer
