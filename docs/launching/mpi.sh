#!/bin/bash
# One process per host with mpirun of Open MPI. NOT TESTED; see README.md.
set -u
HOSTS=node0,node1,node2,node3 COORDINATOR=node0:12345
COMMAND=".venv/bin/python -m transformer_jax train --config=configs/CONFIG.py --workdir=/shared/runs/NAME \
    --config.mesh.data=1 --config.mesh.fsdp=-1"

# Open MPI 5 does not say where the first process is; with the flags the same line serves version 4.
# mpirun passes SIGTERM on to its processes; it ends with the code of the first that fails.
while true; do
    mpirun -np 4 --host "$HOSTS" --map-by node sh -c "exec $COMMAND --coordinator=$COORDINATOR \
        --processes=\$OMPI_COMM_WORLD_SIZE --process=\$OMPI_COMM_WORLD_RANK"
    code=$?
    [ "$code" = 75 ] || exit "$code"  # 75: saved; started again, it goes on
done
