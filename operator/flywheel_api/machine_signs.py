"""Signs of what a machine lacks or loses: disks, processes, memory, GPUs and their drivers."""

from __future__ import annotations

from flywheel_api.ends import End
from flywheel_api.sign_rows import WORKERS_KILLED, Rank, Sign, sign

MACHINE_SIGNS: tuple[Sign, ...] = (
    # ---- shared memory and disks ------------------------------------------------------------------------------------
    sign(
        End.OPEN_FILES, "google/cadvisor#1581, samuelcolvin/watchfiles#320",
        "(?:inotify|fsnotify).*(?:limit reached|[Nn]o space left|[Tt]oo many open files)",
        advice="the node is at its limit of watched files, which has nothing to do with space: raise the sysctls "
        "fs.inotify.max_user_watches and fs.inotify.max_user_instances of the nodes",
    ),
    sign(
        End.OPEN_FILES, "ray-project/ray",
        r"\[Errno 24\]", r"os error 24\b", "[Tt]oo many open files",  # also where shared memory could not be opened
        "received 0 items of ancdata",
    ),
    sign(
        End.SHARED_MEMORY, "NVIDIA/nccl#290, pytorch/pytorch#5040",
        "/dev/shm.*(?:[Nn]o space left|[Ee]rror while creating)", "[Nn]o space left.*/dev/shm", "exceeds /dev/shm",
        "shared memory segment /dev/shm", r"</torch_\w+>",
        "[Uu]nexpected bus error", "killed by signal: Bus error", "Fatal Python error: Bus error",
        r"Bus error \(core dumped\)", r"\bexit ?code *: -7\b", r"(?<!or )\bSIGBUS\b", "insufficient shared memory",
        "unable to (?:open|mmap|allocate|resize|write to) shared memory",
        "NCCL WARN.*(?:posix_fallocate|shm|[Nn]o space left)", r"(?:signal: 7|[Ss]ignal 7) \(",
    ),
    sign(
        End.NODE_DISK_FULL, "ray-project/ray#49173",
        "[Rr]untime_?[Ee]nv.*(?:[Nn]o space left|disk is full|Errno 28)",
    ),
    sign(
        End.DISK_FULL, "verl-project/verl#3346, pytorch/pytorch#10577, ray-project/ray#49173",
        r"\[Errno (?:28|122)\]", r"os error (?:28|122)\b", r"\bOs \{ code: 28\b", "[Nn]o space left on device",
        "[Dd]isk quota exceeded", "OutOfDiskError", "[Ll]ocal disk is full", "PytorchStreamWriter failed",
        "basic_ios::clear", "iostream error", "enforce fail at inline_container", "file write failed",
        r"unexpected pos \d+ vs \d+", "database or disk is full",
    ),
    sign(
        End.DISK_FAULT, "pytorch/pytorch, ray-project/ray",
        r"\[Errno (?:5|19|37|107|108|116|117|121)\]",
        r"\[Errno \d+\] (?:Software caused connection abort|Host is down): '/",
        r"os error (?:5|116|117)\b", "[Ii]nput/output error",
        "[Ss]tale (?:NFS )?file handle", "Transport endpoint is not connected", "Remote I/O error",
    ),
    sign(
        End.OBJECT_STORE_FULL, "ray-project/ray#13443",
        "ObjectStoreFullError", "object store is full",
        rank=Rank.EFFECT,  # a disk on which nothing can be spilled stands above it
    ),
    sign(
        End.DISK_FULL, "ray-project/ray#49173",
        # Ray says the same every few seconds of any disk that is nearly full, be there ever so many bytes left
        r"is over \d+% full, available space: (?:[0-4]\b|[\d.e-]+ [KM]?B\b).*Object creation will fail",
        rank=Rank.EFFECT,
    ),
    # ---- processes --------------------------------------------------------------------------------------------------
    sign(
        End.PID_LIMIT, "ray-project/ray",
        "can't start new thread", "pthread_create failed", "Thread creation failed",
        "unable to create (?:new )?(?:native )?thread", "fork: (?:retry: )?Resource temporarily unavailable",
        r"BlockingIOError: \[Errno 11\]", r"(?:Os \{ code:|os error) 11\b", "pids? (?:cgroup )?limit",
        r"what\(\): +Resource temporarily unavailable",
    ),
    # ---- memory of the host -----------------------------------------------------------------------------------------
    sign(
        End.OUT_OF_MEMORY, "verl-project/verl#2950, ray-project/ray#44574",
        WORKERS_KILLED, r"ray\.exceptions\.OutOfMemoryError",
        "node running low on memory", "exceeds the memory usage threshold",
    ),
    sign(
        End.OUT_OF_MEMORY, "ray-project/ray",
        r"^MemoryError\b", "ArrayMemoryError", "std::bad_alloc", r"\[Errno 12\]", r"os error 12\b",
        "<raised>Cannot allocate memory", "[Oo]ut of memory: Killed process", "oom-kill:",
        r"\bmalloc of size \d+ failed",
        advice="the pod's memory is full: lower algorithm.microBatchSize, maxPromptTokens or maxResponseTokens, or "
        "raise its memory limit",
    ),
    # ---- memory of the device ---------------------------------------------------------------------------------------
    sign(
        End.KV_CACHE_TOO_SMALL, "OpenRLHF/OpenRLHF#336, vllm-project/vllm#2418",
        "(?:max(?:imum)? seq(?:uence)? len|max_model_len|at least one request).*KV cache",
        "KV cache.*max(?:imum)? seq",
        "larger than the (?:available|maximum number of tokens that can be stored in) KV cache",
    ),
    sign(
        End.DEVICE_OUT_OF_MEMORY, "vllm-project/vllm#2248",
        "No available memory for the cache blocks",
        advice="the GPU has no room for the rollout engine's cache: raise the override "
        "actor_rollout_ref.rollout.gpu_memory_utilization, or rolloutTensorParallel",
    ),
    sign(
        End.DEVICE_OUT_OF_MEMORY, "huggingface/trl#2688, verl-project/verl#302",
        "Free memory on device.*less than desired", "CUDA Error: out of memory", "[Cc]umem.*out of memory",
        "Error in memory profiling", "increase --mem-fraction-static", "^.{0,40}(?:Prefill|Decode) out of memory",
        "GPUs may be occupied by other processes",
        advice="the rollout engine did not get its GPU memory back from training: lower the override "
        "actor_rollout_ref.rollout.gpu_memory_utilization, or maxResponseTokens",
    ),
    sign(
        End.DEVICE_OUT_OF_MEMORY, "verl-project/verl#302, vllm-project/vllm#17618",
        r"OutOfMemoryError\b", r"<raised>\b(?:CUDA|HIP|CUDNN|NPU)\b.*out of memory", "_STATUS_ALLOC_FAILED",
        "Failed to CUDA (?:calloc|malloc|host alloc)", "cudaErrorMemoryAllocation",
        r"Cuda failure (?:\d+ )?'out of memory'",
    ),
    sign(
        End.DEVICE_OUT_OF_MEMORY, "pytorch/pytorch",
        "DefaultCPUAllocator: (?:can't allocate|not enough) memory",
        advice="an allocation of the CPU's memory failed: lower algorithm.microBatchSize, maxPromptTokens or "
        "maxResponseTokens, or raise the pod's memory limit",
    ),
    # ---- GPUs and drivers that do not fit ---------------------------------------------------------------------------
    sign(
        End.GPU_UNSUPPORTED, "vllm-project/vllm#19906, llm-d/llm-d#706, NVIDIA/nvidia-docker#1256",
        "NVIDIA driver on your system is too old", r"\b[Ee]rror 80[34]\b", "unsupported display driver",
        "forward compatibility was attempted", "driver version is insufficient", "no kernel image is available",
        "unsupported toolchain", "is not compatible with the current PyTorch", "not compiled with CUDA enabled",
        "only supports? Ampere", "(?:requires|only supported on|at least).*compute capability",
        "cudaErrorNoKernelImage", "not supported for the current GPU", "Unsupported FA version",
        "invalid device function", r"'sm_\w+' is not (?:defined|a recognized)", "Triton only supports? CUDA",
        "out of resource: shared memory", "No valid attention backend", "device kernel image is invalid",
        "not supported in the installed CUDA driver", r"base 10: '(?:MIG|GPU)-",
    ),
    # ---- GPUs that fail ---------------------------------------------------------------------------------------------
    sign(
        End.GPU_FAULT, "verl-project/verl#407, microsoft/pai#4344, NVIDIA/gpu-operator#2842",
        "[Uu]ncorrectable (?:ECC|NVLink)", r"\bECC error\b", "cudaErrorECCUncorrectable",
        r"Xid \([^)]*\): (?!(?:13|31|43|45|63|68|69|92)\b)(?!.*\bNon-?fatal)\d+",  # a program's; 63 and 92 only tell
        "fallen off the bus",
        r"GPU(?: [\w:.-]+)? is lost", "GPU_IS_LOST", "cudaErrorDevicesUnavailable", "busy or unavailable",
        r"No \w+ GPUs are available", "no CUDA-capable device",
        r"(?i:cuda|nvml|driver).*\b[Ee]rror (?:100|304|802|999)\b",
        "Failed to infer device type", r"<raised>(?i:no (?:accelerators?|gpus?|cuda devices?) (?:w\w+ |is |are )?"
        r"(?:found|detected|visible))",
        "system not yet initialized", "[Ff]abric ?[Mm]anager.*(?:not|fail|error)", "CUDA unknown error",
        r"(?:CUDA error:|Cuda failure (?:\d+ )?')\W?unknown error", "CUDA driver initialization failed",
        r"cudaGetDeviceCount\(\)\..*Error \d+:",
        "NVML.*(?:[Uu]nknown [Ee]rror|[Nn]ot [Ll]oaded|[Nn]ot [Ff]ound|mismatch|[Ff]ail)",
        "(?:[Ff]ailed to initialize|[Cc]an't initialize) NVML", "nvmlInit", "Unable to determine the device handle",
        "couldn't communicate with the NVIDIA driver", "Found no NVIDIA driver", r"libcuda\.so\S* cannot open",
        "RmInitAdapter failed",
    ),
    sign(
        End.NOT_A_NUMBER, "verl-project/verl#747",
        "probability tensor contains either", "(?i:(?:loss|grad(?:ient)?(?:[ _]norm)?) is (?:nan|inf))",
        "returned nan values in its",
    ),
)  # fmt: skip
