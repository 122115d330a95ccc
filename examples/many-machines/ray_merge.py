"""One merge on many machines of a Ray cluster: a remote task for each part, then one that puts them together.

    python ray_merge.py --parts 8 --recipe /shared/recipe.toml --out /shared/models/merged

All after --parts goes to `mergescope merge`, which every machine has on its PATH. Models and output lie on a file system that
all machines have. A task whose machine is lost is tried again elsewhere and goes on where it was.
"""

import argparse
import subprocess

import ray


@ray.remote(num_cpus=8, max_retries=3)
def merge(*arguments: str) -> str:
    """Runs `mergescope merge` and gives back what it says."""
    command = ["mergescope", "merge", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--parts", type=int, required=True, help="how many parts the merge is divided into")
    options, arguments = parser.parse_known_args()

    ray.init()
    parts = [merge.remote(*arguments, "--part", f"{number}/{options.parts}") for number in range(1, options.parts + 1)]
    for said in ray.get(parts):
        print(said, end="")
    print(ray.get(merge.remote(*arguments, "--finish")), end="")


if __name__ == "__main__":
    main()
