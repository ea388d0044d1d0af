#!/bin/sh
# One machine of several (or the only one), by PyTorch's own launcher. At the same time on each, in the project's folder:
#   NODES=2 NODE=0 HEAD=first.example.org GPUS=8 sh launch/torchrun.sh TASK/PRESET --accelerator gpu-ddp
# NODE is 0 on the first and 1 on the second; the first must be reached at HEAD, port PORT. runs/ is a folder of all.
NODES=${NODES:-1} NODE=${NODE:-0} HEAD=${HEAD:-127.0.0.1} PORT=${PORT:-29500} GPUS=${GPUS:-1}
exec torchrun --nnodes "$NODES" --node-rank "$NODE" --master-addr "$HEAD" --master-port "$PORT" --nproc-per-node "$GPUS" \
  train.py "$@" --framework lightning --accelerator.nodes "$NODES" --accelerator.devices "$GPUS"
