#!/usr/bin/env bash
# bash launch.sh [KEY=VALUE …]                on one node
# bash launch.sh head [KEY=VALUE …]           on the first of several nodes; begins once all are there
# bash launch.sh worker HEAD                  on each other node; HEAD is the address of the first
# bash launch.sh slurm [KEY=VALUE …]          on every node, by srun
# Started again, verl goes on from its last checkpoint.
set -euo pipefail
NODES=@NODES@ GPUS=@GPUS@ PORT=${RAY_PORT:-6379}
export MENTORKIT_RUN="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
mkdir -p "$MENTORKIT_RUN/metrics" "$MENTORKIT_RUN/episodes"
export MENTORKIT_METRICS="$MENTORKIT_RUN/metrics/$(date -u +%Y%m%d-%H%M%S).jsonl"

train() {
    python3 -m verl.trainer.main_ppo --config-path="$MENTORKIT_RUN" --config-name=verl "$@"
    merge
}

merge() {
    local step; step=$(cat "$MENTORKIT_RUN/checkpoints/latest_checkpointed_iteration.txt")
    rm -rf "$MENTORKIT_RUN/final"
    python3 -m verl.model_merger merge --backend fsdp \
        --local_dir "$MENTORKIT_RUN/checkpoints/global_step_$step/actor" --target_dir "$MENTORKIT_RUN/final"
    echo "$step" > "$MENTORKIT_RUN/final/step.txt"
}

head_node() {
    ray start --port="$PORT" --num-gpus="$GPUS" --head
    trap 'ray stop' EXIT
    until python3 -c "import ray, sys; ray.init(address='auto', log_to_driver=False)
sys.exit(sum(node['Alive'] for node in ray.nodes()) < $NODES)" 2>/dev/null; do
        echo "waiting for $NODES nodes"; sleep 5
    done
    RAY_ADDRESS=auto train "$@"
}

worker_node() {
    # the head may not be there yet
    until ray start --address="$1:$PORT" --num-gpus="$GPUS" --block; do sleep 5; done
}

case "${1:-}" in
    head) shift; head_node "$@" ;;
    worker) worker_node "${2:?the address of the first node}" ;;
    merge) merge ;;
    slurm)
        shift
        first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
        if [ "$SLURM_PROCID" -eq 0 ]; then head_node "$@"; else worker_node "$first"; fi ;;
    *)
        if [ "$NODES" -ne 1 ]; then
            echo "this run is for $NODES nodes: launch.sh head on one, launch.sh worker HEAD on each other one" >&2
            exit 2
        fi
        train "$@" ;;
esac
