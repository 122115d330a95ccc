"""Write the demo's question sets: held-out problems of assets/demo/problems.py, in English and in Japanese.

    python3 assets/questions/make_questions.py

The problems are drawn from a fixed seed: running it again writes the same bytes.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "demo"))

from problems import LANGUAGES, Problem, held_out_problems  # noqa: E402

PROBLEMS = 200


def record(number: int, problem: Problem, language: str) -> dict[str, str | int]:
    """A question, and the prompt that the demo's models were trained on, in which it stands word for word."""
    prompt = problem.question(language)
    return {
        "id": f"sum-{number:03}",
        "question": prompt.splitlines()[0],
        "prompt": prompt,
        "answer": problem.answer,
    }


def main() -> None:
    """Write a file for each language; the same id is the same problem in both."""
    problems = held_out_problems(PROBLEMS)
    for language in LANGUAGES:
        lines = (
            json.dumps(record(i, problem, language), ensure_ascii=False) + "\n" for i, problem in enumerate(problems)
        )
        (HERE / f"demo-{language}.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
