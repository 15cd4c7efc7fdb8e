#!/bin/bash
# A TPU pod slice from your own machine: bash tpu_pod.sh start | log | stop | status. NOT TESTED; see README.md.
# /mnt/shared is a file system that all workers mount: Filestore, or a bucket with a hierarchical namespace through
# gcsfuse (checkpoints are committed by renaming directories), which cannot lock: start the run once only.
set -eu
NAME=NAME ZONE=ZONE RUN=/mnt/shared/runs/NAME CODE=transformer_jax

everywhere() {
    gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --worker=all --command="$1"
}

case "${1:-}" in
install)  # once per slice; the code is a git repository or a copy in the home directory of every worker
    everywhere "cd $CODE && python3 -m venv .venv && .venv/bin/pip install --quiet --constraint constraints.txt \
        'jax[tpu]' --editable ."
    ;;
start)  # the processes find each other by themselves; started again, the run resumes
    everywhere "cd $CODE && mkdir -p ~/logs && nohup .venv/bin/python -m transformer_jax train \
        --config=configs/CONFIG.py --workdir=$RUN --config.mesh.data=1 --config.mesh.fsdp=-1 \
        > ~/logs/train.txt 2>&1 < /dev/null & echo \$! > ~/train.pid"
    ;;
log)  # process 0 talks
    gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --worker=0 --command="tail -n 20 -f ~/logs/train.txt"
    ;;
stop)  # SIGTERM: all save one checkpoint, at the same step, and end with 75
    everywhere "kill -TERM \$(cat ~/train.pid)"
    ;;
status)
    gcloud compute tpus tpu-vm describe "$NAME" --zone="$ZONE" --format='value(state)'
    everywhere "kill -0 \$(cat ~/train.pid) 2> /dev/null && echo running || echo not running"
    ;;
preempted)  # a spot slice that was taken is gone for good: delete what is left of it, ask for another, and start again
    gcloud compute tpus tpu-vm delete "$NAME" --zone="$ZONE" --quiet
    gcloud compute tpus tpu-vm create "$NAME" --zone="$ZONE" --accelerator-type=v5litepod-16 \
        --version=v2-alpha-tpuv5-lite --spot
    ;;
*)
    echo "usage: $0 install | start | log | stop | status | preempted" >&2
    exit 2
    ;;
esac
