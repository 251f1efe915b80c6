#!/bin/bash
# Trains on several machines under Slurm, one worker on each:
#
#     sbatch --nodes=4 --gpus-per-node=8 configs/launch/slurm.sh \
#       --flagfile=configs/imagenet_vgg16.cfg --data_dir=/shared/imagenet --run_dir=/shared/run
#
# Slurm sends SIGTERM before its time limit (--signal): all workers save and end, and the same command goes on.
# A worker that is lost ends all; --requeue has Slurm begin them again, from the newest checkpoint.
#SBATCH --job-name=dc-keras
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --signal=TERM@120
set -euo pipefail
port=${PORT:-2222}
launch=${DC_KERAS:-$SLURM_SUBMIT_DIR}/configs/launch
addresses=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/\$/:$port/" | paste -s -d ,)
export launch addresses
# Each task knows its own number; `exec` passes signals on.
exec srun --kill-on-bad-exit=1 bash -c \
  'exec "$launch/worker.sh" "$SLURM_PROCID" "$addresses" -- python train.py --strategy=multi_worker "$@"' \
  train "$@"
