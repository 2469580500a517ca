"""The words for how an attempt ended: the class of each, and what to do. docs/troubleshooting.md is made from it.

Both halves say them: containers in their failure record, the operator from pods and KubeRay's objects. Words that are
not here are Kubernetes' or KubeRay's own (PreemptionByScheduler, SubmissionFailed), ExitCode<n>, or the name of a
Python exception that nothing is known about.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from flywheel_api.causes import Cause


class End(StrEnum):
    """Reasons of ended attempts (`status.attempts[].reason`)."""

    # memory and space: the same settings would do it again
    OOM_KILLED = "OOMKilled"
    OUT_OF_MEMORY = "OutOfMemory"
    DEVICE_OUT_OF_MEMORY = "DeviceOutOfMemory"
    WORKER_KILLED = "WorkerKilled"
    KILLED = "Killed"
    SHARED_MEMORY = "SharedMemoryTooSmall"
    STORAGE_LIMIT = "StorageLimit"
    DISK_FULL = "DiskFull"
    OBJECT_STORE_FULL = "ObjectStoreFull"
    PID_LIMIT = "PidLimit"
    OPEN_FILES = "TooManyOpenFiles"
    # the program
    TRAINING_FAILED = "TrainingFailed"
    WORKER_DIED = "WorkerDied"
    WORKER_CRASHED = "WorkerCrashed"
    CUDA_ERROR = "CudaError"
    NOT_A_NUMBER = "NotANumber"
    DIVERGED = "Diverged"
    ENGINE_STALLED = "EngineStalled"
    CRASH_LOOP = "CrashLoop"
    DEPLOY_FAILED = "DeployFailed"
    # hardware, network, cluster: nothing was wrong with the program
    GPU_FAULT = "GpuFault"
    NCCL_TIMEOUT = "NcclTimeout"
    NCCL_ERROR = "NcclError"
    PEER_LOST = "PeerLost"
    PORT_IN_USE = "PortInUse"
    DISK_FAULT = "DiskFault"
    NODE_LOST = "WorkerNodeLost"
    RAY_UNAVAILABLE = "RayUnavailable"
    OBJECT_LOST = "ObjectLost"
    HUB_UNAVAILABLE = "HubUnavailable"
    TRACKER_UNAVAILABLE = "TrackerUnavailable"
    SERVICE_UNAVAILABLE = "ServiceUnavailable"
    HEAD_LOST = "HeadLost"
    JOB_LOST = "JobLost"
    CONTAINER_NOT_STARTED = "ContainerNotStarted"
    CONTAINER_LOST = "ContainerLost"
    NODE_REFUSED = "NodeRefusedPod"
    NODE_DISK_FULL = "NodeDiskFull"
    PODS_GONE = "PodsGone"
    # taken away, or not there
    DRAINED = "Drained"
    TERMINATED = "Terminated"
    NOT_ENOUGH_GPUS = "NotEnoughGpus"
    STARTUP_TIMEOUT = "StartupTimeout"
    STOPPED = "Stopped"
    POD_DEADLINE = "PodDeadline"
    # settings that cannot work: no attempt can change that
    IMAGE_UNUSABLE = "ImageUnusable"
    MODULE_MISSING = "ModuleMissing"
    INVALID_OVERRIDE = "InvalidOverride"
    SIZES_DO_NOT_FIT = "SizesDoNotFit"
    KV_CACHE_TOO_SMALL = "KvCacheTooSmall"
    PROMPT_TOO_LONG = "PromptTooLong"
    DATA_UNUSABLE = "DataUnusable"
    TOO_LITTLE_DATA = "TooLittleData"
    MODEL_UNUSABLE = "ModelUnusable"
    NO_CHAT_TEMPLATE = "NoChatTemplate"
    HUB_DENIED = "HubDenied"
    EXPORT_TARGET_UNUSABLE = "ExportTargetUnusable"
    TRACKER_DENIED = "TrackerDenied"
    GPU_UNSUPPORTED = "GpuUnsupported"
    INVALID_INPUT = "InvalidInput"
    INVALID_DATASET = "InvalidDataset"
    TOO_MANY_WRONG_ROWS = "TooManyWrongRows"
    TOO_FEW_ITEMS = "TooFewItems"
    TOO_FEW_ROWS = "TooFewRows"
    # endpoints, budgets and attempts beside each other
    ENDPOINT_REFUSED = "EndpointRefused"
    SERVED_MODEL_CHANGED = "ServedModelChanged"
    WRONG_WEIGHTS = "WrongWeights"
    TOKEN_BUDGET = "TokenBudgetExceeded"
    CORRUPT_ARTIFACT = "CorruptArtifact"
    INFRASTRUCTURE_LOST = "InfrastructureLost"
    SUPERSEDED = "Superseded"


@dataclass(frozen=True)
class Meaning:
    """What an end means. `text` is for messages: what happened and what to do. `more` is for the page only."""

    cause: Cause
    text: str
    more: str = ""


_MEMORY = "lower algorithm.microBatchSize, maxPromptTokens or maxResponseTokens, or give the pods more memory"
_RESUMES = "the next attempt resumes from the last committed checkpoint"
_MACHINE = "nothing is wrong with the settings, and no retry is used up"

MEANINGS: dict[End, Meaning] = {
    End.OOM_KILLED: Meaning(
        Cause.APP,
        "it was killed for memory: raise its memory limit",
        "A container used more than its memory limit. For trainers and servers: `podTemplate.resources.limits.memory`; "
        "for CPU stages `config.job.resources`, for the container that fetches the model `config.<flavour>.init` of "
        "the chart's values. `/dev/shm` counts towards the limit.",
    ),
    End.OUT_OF_MEMORY: Meaning(
        Cause.APP,
        f"Ray's memory monitor ended a worker: {_MEMORY}",
        "The node's (or the pod's) memory was nearly used up, so Ray ended a process before the kernel would.",
    ),
    End.DEVICE_OUT_OF_MEMORY: Meaning(
        Cause.APP,
        f"the GPU's memory is full: {_MEMORY}",
        "The message says whether training or sampling asked for the memory. Training: `algorithm.microBatchSize`, "
        "shorter texts, more GPUs. Sampling (vLLM: `cache blocks`, `less than desired`, `wake_up`): the override "
        "`actor_rollout_ref.rollout.gpu_memory_utilization`, a larger `rolloutTensorParallel`.",
    ),
    End.WORKER_KILLED: Meaning(
        Cause.APP,
        f"a training process was killed, most likely for its memory: {_MEMORY}",
        "SIGKILL without a word: the kernel does that when a pod is over its memory limit and only a child of the "
        "container's first process is chosen.",
    ),
    End.KILLED: Meaning(
        Cause.APP,
        "the program was killed from outside, most likely for memory: raise the memory limit of its container (of a "
        "training: of the Ray head)",
        "Exit code -9 of the driver on the Ray head: `config.<flavour>.trainer.head` in the chart's values, or "
        "`podTemplate.resources` where the head does the work. Exit code 137 of a container without `OOMKilled`: the "
        "kernel chose a child of its first process (`config.job.resources`, `jobTemplate.resources`), the node itself "
        "had no memory left (`dmesg` there; a request as large as the limit helps), or somebody killed it.",
    ),
    End.SHARED_MEMORY: Meaning(
        Cause.APP,
        "/dev/shm is too small: raise shmSize (config.<flavour>.trainer.shmSize of the chart's values)",
        "NCCL, DataLoader workers and Ray's object store share memory through `/dev/shm`. A bus error (signal 7, exit "
        "code 135) and `No space left on device` below `/dev/shm` mean that it is full. Its size counts towards the "
        "memory limit.",
    ),
    End.STORAGE_LIMIT: Meaning(
        Cause.APP,
        "the pod wrote more to its disk than it may: raise modelDirSize or shmSize, or "
        "podTemplate.resources.limits.ephemeral-storage",
        "Kubelet evicted the pod for a limit of its own, not because the node was short of disk: the same pod would be "
        "evicted again, so this uses up a retry. The message names the volume or the container.",
    ),
    End.DISK_FULL: Meaning(
        Cause.APP,
        "the disk is full: give the pods more disk (ephemeral-storage, modelDirSize), or keep fewer checkpoints "
        "(checkpoint.keepLast)",
        "A checkpoint, a spilled object or a cache did not fit. A checkpoint of training needs about 14 bytes a "
        "parameter on its node, twice while the next one is written.",
    ),
    End.OBJECT_STORE_FULL: Meaning(
        Cause.APP,
        "Ray's object store is full: raise shmSize and object-store-memory, or lower promptsPerStep or groupSize",
    ),
    End.PID_LIMIT: Meaning(
        Cause.APP,
        "no process or thread can be started: the pod is at its limit of processes; raise podPidsLimit of the "
        "kubelet, or lower the threads (OMP_NUM_THREADS, RAYON_NUM_THREADS)",
    ),
    End.OPEN_FILES: Meaning(
        Cause.APP, "too many files are open: raise the limit of open files (LimitNOFILE) of the container runtime"
    ),
    End.TRAINING_FAILED: Meaning(
        Cause.APP,
        "the training program failed",
        "Nothing that is known stands in its last 400 lines. The message has the last exception; the log has the rest.",
    ),
    End.WORKER_DIED: Meaning(
        Cause.APP,
        "a worker process ended and Ray does not know why: the lines above that in the log do",
        "Ray says the same for a crash, a kill and an exit. `OOMKilled` in `kubectl describe pod` means memory.",
    ),
    End.WORKER_CRASHED: Meaning(
        Cause.APP, "a worker process crashed: the lines above that in the log, or the core dump, say why"
    ),
    End.CUDA_ERROR: Meaning(
        Cause.APP,
        "a CUDA kernel failed: a bug of the program or its libraries, or a GPU that begins to fail if it is always "
        "the same node",
        "`CUDA_LAUNCH_BLOCKING=1` (override `ray_kwargs.ray_init.runtime_env.env_vars.CUDA_LAUNCH_BLOCKING`) shows the "
        "true place. With an Xid of the hardware beside it, it is GpuFault.",
    ),
    End.NOT_A_NUMBER: Meaning(
        Cause.APP,
        "probabilities are NaN or infinite: the policy has diverged; lower learningRate or start from an earlier "
        "checkpoint",
    ),
    End.DIVERGED: Meaning(
        Cause.APP, "loss or gradient is not a number: lower learningRate; the last good checkpoint is kept"
    ),
    End.ENGINE_STALLED: Meaning(
        Cause.APP,
        "the rollout engine stopped answering; if it comes back, lower the load (promptsPerStep, groupSize) or "
        "rolloutTensorParallel",
    ),
    End.CRASH_LOOP: Meaning(
        Cause.APP,
        "a container ends again and again at its start: `kubectl logs <pod> -c <container> --previous` says why",
        "The message has the container, its exit code and its last words.",
    ),
    End.DEPLOY_FAILED: Meaning(
        Cause.APP, "Ray Serve could not deploy the model: the message and the pods' logs have its error"
    ),
    End.GPU_FAULT: Meaning(
        Cause.INFRA,
        f"a GPU or its driver failed; {_MACHINE}: have the node looked at",
        "Uncorrectable ECC, an Xid of the hardware, a GPU off the bus, a device that is busy or unavailable, a fabric "
        "manager that does not run; or, where nobody else says why it ended or hangs, a device that kubelet calls "
        "unhealthy (`allocatedResourcesStatus` of the pod, Kubernetes 1.36). The message names the node, and the next "
        "attempts of a training avoid it, until there is no room elsewhere or five more have ended; so does the next "
        "RayService of a pool, which is made when no other replica is ready or startupTimeout is over, once for each "
        "node. Other pools and trainings do not know of it, those of the same round neither. "
        "`kubectl cordon <node>`; `nvidia-smi -q` and `dmesg` on it.",
    ),
    End.NCCL_TIMEOUT: Meaning(
        Cause.INFRA,
        "a collective of NCCL timed out: a peer was too slow, stuck or gone; if the same step always does it, look "
        "for the rank that failed first",
    ),
    End.NCCL_ERROR: Meaning(
        Cause.INFRA,
        "NCCL lost a peer or its network: check the network between the nodes (NCCL_DEBUG=INFO shows what it uses)",
        "With one and the same node each time, cordon it. For EFA or InfiniBand: the device plug-in, the security "
        "group, `NCCL_SOCKET_IFNAME`.",
    ),
    End.PEER_LOST: Meaning(Cause.INFRA, f"a connection between the workers was lost; {_RESUMES}"),
    End.PORT_IN_USE: Meaning(
        Cause.INFRA,
        "a port was in use when a server started; it passes by itself, unless host ports are shared",
    ),
    End.DISK_FAULT: Meaning(
        Cause.INFRA, f"a disk or network file system failed; {_MACHINE}: have the node or the file server looked at"
    ),
    End.NODE_LOST: Meaning(Cause.INFRA, f"a Ray node died under the run; {_RESUMES}"),
    End.RAY_UNAVAILABLE: Meaning(Cause.INFRA, f"the Ray cluster stopped answering; {_RESUMES}"),
    End.OBJECT_LOST: Meaning(Cause.INFRA, f"Ray lost an object or the worker that owned it; {_RESUMES}"),
    End.HUB_UNAVAILABLE: Meaning(
        Cause.INFRA,
        "the model hub does not answer or limits the rate: it passes by itself; a model in the store "
        "needs no hub, and a round imports its base once",
    ),
    End.TRACKER_UNAVAILABLE: Meaning(
        Cause.INFRA, "the experiment tracker does not answer: it passes by itself, or take it out of trainer.logger"
    ),
    End.SERVICE_UNAVAILABLE: Meaning(
        Cause.INFRA, "a server that the program needs does not answer: the message has its address"
    ),
    End.HEAD_LOST: Meaning(
        Cause.INFRA,
        f"the Ray head was lost; {_RESUMES}",
        "KubeRay had started the entry point a second time. If the head's container was killed for memory, that is "
        "the cause shown.",
    ),
    End.JOB_LOST: Meaning(
        Cause.INFRA, f"Ray lost the job: its supervisor could not start or was lost with its node; {_RESUMES}"
    ),
    End.CONTAINER_NOT_STARTED: Meaning(
        Cause.INFRA,
        "the node could not start the container: its runtime's words follow; have the node looked at",
        "Typical: the GPU runtime or driver of the node does not work (`nvidia-container-cli`, `nvml error`).",
    ),
    End.CONTAINER_LOST: Meaning(
        Cause.INFRA, f"the node or its container runtime was restarted and lost the container; {_RESUMES}"
    ),
    End.NODE_REFUSED: Meaning(
        Cause.INFRA,
        "the node refused the pod after it was scheduled there; kubelet's words follow",
        "`OutOf<resource>`, `UnexpectedAdmissionError`, `TopologyAffinityError`: usual after a node's restart, before "
        "its device plug-in has told how many GPUs there are.",
    ),
    End.NODE_DISK_FULL: Meaning(
        Cause.INFRA, "the node's own disk is full: free it, or raise the requests of ephemeral-storage"
    ),
    End.PODS_GONE: Meaning(Cause.INFRA, "the Job failed and its pods are gone, so that nothing tells why"),
    End.DRAINED: Meaning(Cause.PREEMPTED, f"the node is being drained or taken back (spot); {_RESUMES}"),
    End.TERMINATED: Meaning(Cause.PREEMPTED, f"the pod was asked to stop; {_RESUMES}"),
    End.NOT_ENOUGH_GPUS: Meaning(
        Cause.CAPACITY,
        "Ray has fewer GPUs than were asked for: see whether all workers run and whether nodes and gpusPerNode fit "
        "the cluster",
    ),
    End.STARTUP_TIMEOUT: Meaning(
        Cause.CAPACITY,
        "the pods did not run within startupTimeout; the message has the scheduler's or kubelet's own words",
        "The class is by those words: Capacity where nodes were missing, Validation where an image cannot work, App "
        "where a container ends again and again, else Infra.",
    ),
    End.STOPPED: Meaning(
        Cause.CANCELLED,
        "somebody stopped the Ray job: it is not started again; apply a new object to go on from the last checkpoint",
        "`ray job stop`, or the dashboard.",
    ),
    End.POD_DEADLINE: Meaning(
        Cause.STALLED, "the pod was active for longer than its deadline (activeDeadlineSeconds) allows"
    ),
    End.IMAGE_UNUSABLE: Meaning(
        Cause.VALIDATION,
        "the image cannot run the command: it is of another architecture, or the command is not in it or not "
        "executable; correct the image",
        "Exit codes 126 and 127, `exec format error`, `no match for platform`, a name that is no image's name.",
    ),
    End.MODULE_MISSING: Meaning(
        Cause.VALIDATION,
        "the image lacks a Python module: add it to the image, or correct the name",
    ),
    End.INVALID_OVERRIDE: Meaning(
        Cause.VALIDATION,
        "verl refused a setting: correct spec.overrides",
        "hydra's or omegaconf's own sentence is in the message.",
    ),
    End.SIZES_DO_NOT_FIT: Meaning(
        Cause.VALIDATION,
        "sizes do not divide: choose promptsPerStep x groupSize divisible by the GPUs and by microBatchSize, and a "
        "rolloutTensorParallel that divides the model's attention heads",
    ),
    End.KV_CACHE_TOO_SMALL: Meaning(
        Cause.VALIDATION,
        "one text of full length does not fit beside the weights: lower maxPromptTokens or maxResponseTokens, raise "
        "gpu_memory_utilization or rolloutTensorParallel",
    ),
    End.PROMPT_TOO_LONG: Meaning(
        Cause.VALIDATION, "a prompt is longer than maxPromptTokens: raise it, or leave such rows out"
    ),
    End.TOO_LITTLE_DATA: Meaning(
        Cause.VALIDATION,
        "there are fewer prompts than one step takes: add data, lower promptsPerStep, or raise maxPromptTokens",
        "Prompts that are longer than `algorithm.maxPromptTokens` are left out before steps are counted; the message "
        "says how many.",
    ),
    End.DATA_UNUSABLE: Meaning(
        Cause.VALIDATION,
        "the data set cannot be trained on: too few rows are left, or a column is missing",
    ),
    End.MODEL_UNUSABLE: Meaning(
        Cause.VALIDATION,
        "the model cannot be loaded by this release of vLLM, transformers or torch: another model, or a newer image",
    ),
    End.NO_CHAT_TEMPLATE: Meaning(
        Cause.VALIDATION,
        "the tokenizer has no chat template: take the instruction-tuned model, or add a chat_template to "
        "tokenizer_config.json",
    ),
    End.HUB_DENIED: Meaning(
        Cause.VALIDATION,
        "the model hub refuses: accept the model's licence and give HF_TOKEN, or correct the repository's name",
    ),
    End.EXPORT_TARGET_UNUSABLE: Meaning(
        Cause.VALIDATION,
        "the promoted model cannot be written where spec.export says: name an empty prefix or directory that may be "
        "written; another round with the same inputs takes all results over and exports",
    ),
    End.TRACKER_DENIED: Meaning(
        Cause.VALIDATION,
        "the experiment tracker refuses the key: set it (WANDB_API_KEY), or take it out of trainer.logger",
    ),
    End.GPU_UNSUPPORTED: Meaning(
        Cause.VALIDATION,
        "GPU, driver and image do not fit together: a newer driver on the nodes, or an image built for this GPU",
    ),
    End.INVALID_INPUT: Meaning(
        Cause.VALIDATION,
        "an input cannot be used: the message names the file, row or field, what is wrong, and what to write instead",
        "Typical: an archive or a Git LFS pointer where data were meant, a suite with fewer usable items than it asks "
        "for.",
    ),
    End.INVALID_DATASET: Meaning(
        Cause.VALIDATION,
        "a data set of an RLJob lacks columns, or has truths that no answer can be compared with: the message names "
        "the file and the first such row",
    ),
    End.TOO_MANY_WRONG_ROWS: Meaning(
        Cause.VALIDATION,
        "more than 5 % of a source's rows are wrong: map its columns with `fields`, or mend the file",
        "The message shows the first wrong rows and the columns that there are; `quarantine.jsonl` of Prepare has more "
        "([data.md](data.md)).",
    ),
    End.TOO_FEW_ITEMS: Meaning(
        Cause.VALIDATION,
        "the gate of a suite cannot be decided by so few items: give it more that share no facts, or write "
        "`requireSignificance: Point`, from 5 items on",
        "The message says how many items there are to go by, and how many the gate needs ([method.md](method.md)).",
    ),
    End.TOO_FEW_ROWS: Meaning(
        Cause.VALIDATION,
        "a track has fewer training rows than one step takes: raise what the stages before may make, or lower "
        "promptsPerStep",
        "`status.stages[].dropped` says what went away and why: [words of dropped items](#why-an-item-was-dropped).",
    ),
    End.WRONG_WEIGHTS: Meaning(
        Cause.INFRA,
        "the policy's pool serves other weights than those under evaluation: it is waited for until it serves the "
        "right ones",
        "Looked at before an evaluation and after it. A pool that is being changed gets there by itself; one that "
        "another object holds on to other weights does not: `kubectl get rolloutpools`.",
    ),
    End.CORRUPT_ARTIFACT: Meaning(
        Cause.VALIDATION,
        "a file of the store is not what its manifest says: the message names it",
        "Somebody wrote below Flywheel's prefix, or the store lost data.",
    ),
    End.INFRASTRUCTURE_LOST: Meaning(Cause.INFRA, "something that a stage works with was lost: the message says what"),
    End.ENDPOINT_REFUSED: Meaning(
        Cause.ENDPOINT,
        "an endpoint refuses for a reason that a person must remove: no money or quota, a wrong key, a model that is "
        "not there, a limit of its own; finished items are kept",
        "The message says what to do; [reference/endpoints.md](reference/endpoints.md) has every such answer.",
    ),
    End.SERVED_MODEL_CHANGED: Meaning(
        Cause.ENDPOINT,
        "an endpoint answered as another model in the middle of an evaluation: serve the first one again, since a "
        "score is of one model",
        "Typical: an alias that the vendor moved, a router with several models behind one name, a server that was "
        "started anew with other weights. Name an exact version. [endpoints.md](endpoints.md#who-answered) has what "
        "is looked at.",
    ),
    End.TOKEN_BUDGET: Meaning(
        Cause.BUDGET,
        "a role's token budget is used up, by all stages together: raise `spec.budget.tokens` for that role",
    ),
    End.SUPERSEDED: Meaning(
        Cause.SUPERSEDED, "another incarnation of the same attempt has already committed: nothing needs to be done"
    ),
}
"""In the order of the page. StartupTimeout's class depends on what was waited for; see `Run.late` of the operator."""
