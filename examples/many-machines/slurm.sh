#!/usr/bin/env bash
# One merge on many machines of a Slurm cluster: an array with a task for each part, then one job that puts them together.
#
#   jobs=$(sbatch --parsable slurm.sh)
#   sbatch --dependency=afterok:"$jobs" --array=0 --export=ALL,FINISH=1 slurm.sh
#
# Models and OUT lie on a file system that all machines have. A part that was killed or requeued goes on where it was.

#SBATCH --job-name=mergescope
#SBATCH --array=1-8
#SBATCH --cpus-per-task=8
#SBATCH --mem=4G
#SBATCH --time=02:00:00
#SBATCH --requeue

set -euo pipefail

# What is merged: change these, or set them outside. PARTS is the last number of --array.
PRE=${PRE:-/shared/models/pre}
POST=${POST:-/shared/models/post}
TARGET=${TARGET:-/shared/models/target}
W=${W:-0.5}
OUT=${OUT:-/shared/models/merged}
PARTS=${PARTS:-${SLURM_ARRAY_TASK_MAX:-8}}

merge() {
  mergescope merge --pre "$PRE" --post "$POST" --target "$TARGET" -w "$W" --out "$OUT" --shard-size "${SHARD_SIZE:-2GB}" \
    --threads "${SLURM_CPUS_PER_TASK:-8}" "$@"
}

if [ -n "${FINISH:-}" ]; then
  merge --finish
else
  merge --part "$SLURM_ARRAY_TASK_ID/$PARTS"
fi
