#!/bin/bash
# Hosts that you reach with ssh, and no scheduler: bash ssh.sh start | stop. The flags are tested (2 and 4 processes on
# one machine); this script over ssh is NOT TESTED. See README.md.
set -eu
HOSTS=(node0 node1) PORT=12345 CODE=/shared/transformer_jax RUN=/shared/runs/NAME

case "${1:-}" in
start)  # all within five minutes; the first host is process 0, whose port the others must reach
    for i in "${!HOSTS[@]}"; do
        ssh "${HOSTS[$i]}" "cd $CODE && nohup .venv/bin/python -m transformer_jax train --config=configs/CONFIG.py \
            --workdir=$RUN --config.mesh.data=1 --config.mesh.fsdp=-1 --coordinator=${HOSTS[0]}:$PORT \
            --processes=${#HOSTS[@]} --process=$i > $RUN-$i.txt 2>&1 < /dev/null & echo \$! > $RUN-$i.pid"
    done
    ;;
stop)  # SIGTERM to one stops all, at the same step, with a checkpoint
    ssh "${HOSTS[0]}" "kill -TERM \$(cat $RUN-0.pid)"
    ;;
*)
    echo "usage: $0 start | stop" >&2
    exit 2
    ;;
esac
