"""One policy in several processes: the first one leads, and all share the work.

    leader:   forward_backward ──send──> each computes the gradient of its completions ──gather──> metrics
              optimizer_step   ──send──> gradients are summed, and each takes the same step
              engine.step      ──send──> each samples its sessions for a few tokens ──gather──> completions

| module | what it is |
| --- | --- |
| `communicator` | messages, and sums and copies of arrays, among the processes; backends implement it |
| `replica` | a process's own policy, whose gradients and state can be exchanged |
| `worker` | methods of a policy that every process runs |
| `leader` | runs a worker's methods in every process; `follow` is its counterpart |
| `shares` | which process computes the gradient of which completions |
| `engine` | sampling, whose sessions are spread over the processes |
| `policy` | the policy that the recipe has, in the first process |
| `serialization` | messages as bytes |

Nothing here knows an array library, and only the first process knows the recipe.
"""
