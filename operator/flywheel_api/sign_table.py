"""The signs in the log of a training run: pattern, what it means, where it was seen. Data; `signs` says how it is read.

A line is compared from top to bottom and the first pattern that is found in it counts, so the specific stand before the
generic. Patterns are anchored to what a program writes (an exception's name, a library's prefix) wherever that can be:
models write about errors as well. A sign's advice stands in place of its end's own text where that would mislead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from flywheel_api.ends import End


class Rank(IntEnum):
    """How much a sign says; see `signs`."""

    CAUSE = 0
    EFFECT = 1
    CLIENT = 2
    VAGUE = 3
    ECHO = 4


@dataclass(frozen=True)
class Sign:
    """One row. `source` is a public report of it.

    `starting`: counts only where no step was trained yet. What a library refuses in words that nobody listed is a
    refusal of the settings at the start, and a fault of one step later.
    """

    pattern: re.Pattern[str]
    end: End
    source: str
    rank: Rank = Rank.CAUSE
    advice: str = ""
    starting: bool = False


def _sign(
    end: End, source: str, *patterns: str, rank: Rank = Rank.CAUSE, advice: str = "", starting: bool = False
) -> Sign:
    text = "|".join(patterns)
    for name, pattern in _PARTS.items():
        text = text.replace(name, pattern)
    return Sign(re.compile(text), end, source, rank, advice, starting)


WORKERS_KILLED = r"\b[1-9]\d* Workers \(tasks / actors\) killed due to memory pressure"
_PARTS = {
    "<raised>": r"^(?:(?:[\w.]+\.)?\w*(?:Error|Exception)\b|Value error,|Assertion failed,).*",  # pydantic's two
    "<hub>": r"(?:huggingface\.co|hf\.co|hf-mirror\.com|HfHub|modelscope|on the Hub)",
    "<refused>": r"^(?:ValueError:|AssertionError:|NotImplementedError:|Value error,|Assertion failed,).*",
    "<lost>": r"(?:[Cc]onnection (?:refused|aborted|timed out|closed|error)|[Rr]ead timed out|No route to host|"
    r"Network is unreachable|[Ss]erver disconnected|Remote end closed|Bad [Gg]ateway|Service Unavailable|"
    r"Gateway Time-?out|Too Many Requests|[Oo]verloaded)",
    "<client>": r"\b(?:requests|urllib3|httpx|httpcore|aiohttp|botocore|redis|pymongo|http\.client)\.[\w.]*",
    "<ray>": r"(?:^\(raylet[^)]*\)|Error:|[Aa]ctor|[Nn]ode\b)",
    "<tracker>": r"\b(?:wandb|swanlab|mlflow|comet)\b",
    "<net>": r"(?:Max retries exceeded|Connection|[Tt]imed? ?out|Name or service|name resolution|unreachable)",
}

SIGNS: tuple[Sign, ...] = (
    # ---- shared memory and disks ------------------------------------------------------------------------------------
    _sign(
        End.OPEN_FILES, "ray-project/ray",
        r"\[Errno 24\]", r"os error 24\b", "[Tt]oo many open files",  # also where shared memory could not be opened
        "received 0 items of ancdata",
    ),
    _sign(
        End.SHARED_MEMORY, "NVIDIA/nccl#290, pytorch/pytorch#5040",
        "/dev/shm.*(?:[Nn]o space left|[Ee]rror while creating)", "[Nn]o space left.*/dev/shm", "exceeds /dev/shm",
        "shared memory segment /dev/shm", r"</torch_\w+>",
        "[Uu]nexpected bus error", "killed by signal: Bus error", "Fatal Python error: Bus error",
        r"Bus error \(core dumped\)", r"(?<!or )\bSIGBUS\b", "insufficient shared memory",
        "unable to (?:open|mmap|allocate|resize|write to) shared memory",
        "NCCL WARN.*(?:posix_fallocate|shm|[Nn]o space left)", r"(?:signal: 7|[Ss]ignal 7) \(",
    ),
    _sign(
        End.NODE_DISK_FULL, "ray-project/ray#49173",
        "[Rr]untime_?[Ee]nv.*(?:[Nn]o space left|disk is full|Errno 28)",
    ),
    _sign(
        End.DISK_FULL, "verl-project/verl#3346, pytorch/pytorch#10577, ray-project/ray#49173",
        r"\[Errno (?:28|122)\]", r"os error (?:28|122)\b", r"\bOs \{ code: 28\b", "[Nn]o space left on device",
        "[Dd]isk quota exceeded", "OutOfDiskError", "[Ll]ocal disk is full", "PytorchStreamWriter failed",
        "basic_ios::clear", "iostream error", "enforce fail at inline_container", "file write failed",
        r"unexpected pos \d+ vs \d+", "database or disk is full",
    ),
    _sign(
        End.DISK_FAULT, "pytorch/pytorch, ray-project/ray",
        r"\[Errno (?:5|37|107|108|116|121)\]", r"\[Errno \d+\] (?:Software caused connection abort|Host is down): '/",
        r"os error (?:5|116)\b", "[Ii]nput/output error",
        "[Ss]tale (?:NFS )?file handle", "Transport endpoint is not connected", "Remote I/O error",
    ),
    _sign(
        End.OBJECT_STORE_FULL, "ray-project/ray#13443",
        "ObjectStoreFullError", "object store is full",
        rank=Rank.EFFECT,  # a disk on which nothing can be spilled stands above it
    ),
    _sign(
        End.DISK_FULL, "ray-project/ray#49173",
        # Ray says the same every few seconds of any disk that is nearly full, be there ever so many bytes left
        r"is over \d+% full, available space: (?:[0-4]\b|[\d.e-]+ [KM]?B\b).*Object creation will fail",
        rank=Rank.EFFECT,
    ),
    # ---- processes --------------------------------------------------------------------------------------------------
    _sign(
        End.PID_LIMIT, "ray-project/ray",
        "can't start new thread", "pthread_create failed", "Thread creation failed",
        "unable to create (?:new )?(?:native )?thread", "fork: (?:retry: )?Resource temporarily unavailable",
        r"BlockingIOError: \[Errno 11\]", r"(?:Os \{ code:|os error) 11\b", "pids? (?:cgroup )?limit",
        r"what\(\): +Resource temporarily unavailable",
    ),
    # ---- memory of the host -----------------------------------------------------------------------------------------
    _sign(
        End.OUT_OF_MEMORY, "verl-project/verl#2950, ray-project/ray#44574",
        WORKERS_KILLED, r"ray\.exceptions\.OutOfMemoryError",
        "node running low on memory", "exceeds the memory usage threshold",
    ),
    _sign(
        End.OUT_OF_MEMORY, "ray-project/ray",
        r"^MemoryError\b", "ArrayMemoryError", "std::bad_alloc", r"\[Errno 12\]", r"os error 12\b",
        "<raised>Cannot allocate memory", "[Oo]ut of memory: Killed process", r"\bmalloc of size \d+ failed",
        advice="the pod's memory is full: lower algorithm.microBatchSize, maxPromptTokens or maxResponseTokens, or "
        "raise its memory limit",
    ),
    # ---- memory of the device ---------------------------------------------------------------------------------------
    _sign(
        End.KV_CACHE_TOO_SMALL, "OpenRLHF/OpenRLHF#336, vllm-project/vllm#2418",
        "(?:max(?:imum)? seq(?:uence)? len|max_model_len|at least one request).*KV cache",
        "KV cache.*max(?:imum)? seq",
        "larger than the (?:available|maximum number of tokens that can be stored in) KV cache",
    ),
    _sign(
        End.DEVICE_OUT_OF_MEMORY, "vllm-project/vllm#2248",
        "No available memory for the cache blocks",
        advice="the GPU has no room for the rollout engine's cache: raise the override "
        "actor_rollout_ref.rollout.gpu_memory_utilization, or rolloutTensorParallel",
    ),
    _sign(
        End.DEVICE_OUT_OF_MEMORY, "huggingface/trl#2688, verl-project/verl#302",
        "Free memory on device.*less than desired", "CUDA Error: out of memory", "[Cc]umem.*out of memory",
        "Error in memory profiling", "increase --mem-fraction-static", "^.{0,40}(?:Prefill|Decode) out of memory",
        advice="the rollout engine did not get its GPU memory back from training: lower the override "
        "actor_rollout_ref.rollout.gpu_memory_utilization, or maxResponseTokens",
    ),
    _sign(
        End.DEVICE_OUT_OF_MEMORY, "verl-project/verl#302, vllm-project/vllm#17618",
        r"OutOfMemoryError\b", r"<raised>\b(?:CUDA|HIP|CUDNN|NPU)\b.*out of memory", "_STATUS_ALLOC_FAILED",
        "Failed to CUDA (?:calloc|malloc|host alloc)", "cudaErrorMemoryAllocation",
        r"Cuda failure (?:\d+ )?'out of memory'",
    ),
    _sign(
        End.DEVICE_OUT_OF_MEMORY, "pytorch/pytorch",
        "DefaultCPUAllocator: (?:can't allocate|not enough) memory",
        advice="an allocation of the CPU's memory failed: lower algorithm.microBatchSize, maxPromptTokens or "
        "maxResponseTokens, or raise the pod's memory limit",
    ),
    # ---- GPUs and drivers that do not fit ---------------------------------------------------------------------------
    _sign(
        End.GPU_UNSUPPORTED, "vllm-project/vllm#19906, llm-d/llm-d#706, NVIDIA/nvidia-docker#1256",
        "NVIDIA driver on your system is too old", r"\b[Ee]rror 80[34]\b", "unsupported display driver",
        "forward compatibility was attempted", "driver version is insufficient", "no kernel image is available",
        "unsupported toolchain", "is not compatible with the current PyTorch", "not compiled with CUDA enabled",
        "only supports? Ampere", "(?:requires|only supported on|at least).*compute capability",
        "cudaErrorNoKernelImage", "not supported for the current GPU", "Unsupported FA version",
        "invalid device function", r"'sm_\w+' is not (?:defined|a recognized)", "Triton only supports? CUDA",
        "out of resource: shared memory", "No valid attention backend",
    ),
    # ---- GPUs that fail ---------------------------------------------------------------------------------------------
    _sign(
        End.GPU_FAULT, "verl-project/verl#407, microsoft/pai#4344, NVIDIA/gpu-operator#2842",
        "[Uu]ncorrectable (?:ECC|NVLink)", r"\bECC error\b", "cudaErrorECCUncorrectable",
        r"Xid \([^)]*\): (?!(?:13|31|43|45|68|69)\b)\d+",  # those six are a program's
        "fallen off the bus",
        r"GPU(?: [\w:.-]+)? is lost", "GPU_IS_LOST", "cudaErrorDevicesUnavailable", "busy or unavailable",
        r"No \w+ GPUs are available", "no CUDA-capable device",
        r"(?i:cuda|nvml|driver).*\b[Ee]rror (?:100|304|802|999)\b",
        "Failed to infer device type",
        "system not yet initialized", "[Ff]abric ?[Mm]anager.*(?:not|fail|error)", "CUDA unknown error",
        "CUDA error: unknown error", "CUDA driver initialization failed", r"cudaGetDeviceCount\(\)\..*Error \d+:",
        "NVML.*(?:[Uu]nknown [Ee]rror|[Nn]ot [Ll]oaded|[Nn]ot [Ff]ound|mismatch|[Ff]ail)",
        "(?:[Ff]ailed to initialize|[Cc]an't initialize) NVML", "nvmlInit", "Unable to determine the device handle",
        "couldn't communicate with the NVIDIA driver", "Found no NVIDIA driver", r"libcuda\.so\S* cannot open",
        "RmInitAdapter failed",
    ),
    _sign(
        End.NOT_A_NUMBER, "verl-project/verl#747",
        "probability tensor contains either", "(?i:(?:loss|grad(?:ient)?(?:[ _]norm)?) is (?:nan|inf))",
    ),
    # ---- settings ---------------------------------------------------------------------------------------------------
    _sign(
        End.NO_CHAT_TEMPLATE, "verl-project/verl#390, OpenRLHF/OpenRLHF#613",
        r"\bchat[ _]template\b.*(?:is not set|not set|no longer allowed|not (?:have|found|defined))",
        "(?:not have|no|without|missing) (?:a |any )?(?:default )?chat[ _]template",
        "Cannot use (?:apply_)?chat.template",
    ),
    _sign(
        End.DATA_UNUSABLE, "allenai/open-instruct#1796",
        "dataloader is empty", r"filter dataset len: 0\b", "but got num_samples=0", "[Dd]ataset is empty",
        "[Ee]mpty dataset", "KeyError: '(?:prompt|raw_prompt|data_source|reward_model)'",
        r"<raised>\b[Cc]olumns?\b.*(?:not|missing|exist)", "CastError: ",
        r"Arrow(?:Invalid|TypeError|KeyError|IndexError|NotImplementedError|CapacityError)\b", "[Dd]ata files? must be",
        "Parquet magic bytes",
        "DatasetGenerationError", r"FileNotFoundError: .*\.(?:parquet|jsonl?)\b",
    ),
    _sign(
        End.DATA_UNUSABLE, "vllm-project/vllm, huggingface/transformers",
        r"^jinja2\.(?:\w+\.)?TemplateError: ",
        starting=True,
        advice="the model's chat template refuses these messages, and says why: correct the data (roles, their order), "
        "or give the tokenizer another chat_template",
    ),
    _sign(
        End.PROMPT_TOO_LONG, "vllm-project/vllm",
        "longer than the maximum model length", r"maximum context length is \d+",
        "greater than the derived max_model_len", r"exceeds? (?:the )?model's max.*(?:length|len|tokens)\b",
        advice="prompt and response are longer than the model's window: lower maxPromptTokens or maxResponseTokens, or "
        "take a model with a longer one",
    ),
    _sign(
        End.PROMPT_TOO_LONG, "vllm-project/vllm",
        r"[Pp]rompt (?:\(length|length|of length) ?\(?\d+\)?.*(?:longer|exceed|larger|greater)",
        r"sequence_length=\d+ is larger than (?:self\.)?max_length",
        r"exceeds? (?:the )?max.*(?:length|len|tokens)\b",
    ),
    _sign(
        End.SIZES_DO_NOT_FIT, "verl-project/verl#473, hiyouga/EasyR1#44",
        r"<raised>(?:\bdivisible\b|\bevenly\b|\ba multiple of\b|cannot be divided|\bmust divide\b)",
        "only support equal chunk",
    ),
    _sign(
        End.SIZES_DO_NOT_FIT, "verl-project/verl, vllm-project/vllm",
        r"<raised>(?:_size|max_\w+)\b.*(?:must be (?:>|greater|larger|at least)|is (?:smaller|less) than|not equal)",
        r"<raised>is (?:greater|larger) than (?:the )?max_\w+",
        r"<raised>assert (?:self\.)?config\..*_size\b.*(?:%|[<>]=?|==)",
        r"<raised>larger than the (?:total )?number of (?:available )?GPUs",
        advice="two sizes contradict each other, and the message names them: correct algorithm, "
        "rolloutTensorParallel or spec.overrides",
    ),
    _sign(
        End.INVALID_OVERRIDE, "facebookresearch/hydra, verl-project/verl",
        r"omegaconf\.errors\.\w+", r"hydra\.errors\.(?!InstantiationException)\w+",
        r"^(?:Config\w+Error|ConfigCompositionException)", "Could not (?:override|append|delete)", "is not in struct",
        "OverrideParseException", "LexerNoViableAlt", "Error parsing override", "no viable alternative at",
        "mismatched input", "extraneous input", "token recognition error", "Ambiguous value for argument",
        "looks like a config group override", r"Interpolation(?:Key|Resolution|\w*)Error", "Missing mandatory value",
        r"^[\w.]*Error: \[[\w.]+\] (?:Please|You have|Cannot)", "Please set at least one of",
        "Error locating target", r"TypeError(?:: |\(.)\w*(?:Config|Args)\.__init__\(\) got an unexpected keyword",
        r"ValidationError: \d+ validation errors? for \w*(?:Config|Args)\b", "GPU memory utilization must be",
        r"<raised>\b(?:Unknown|Unsupported|Invalid|Unrecognized) [\w '\"-]*"
        r"(?:estimator|mode|strategy|penalty|manager|scheduler|optimizer|backend|option|engine|algorithm)\b",
        "<refused>(?:[Cc]annot override|[Ee]ither .* or (?:un)?set)",
        r"\berror: (?:unrecognized arguments|argument \S+: |the following arguments are required)",
        r"\byaml\.(?:scanner|parser|composer|constructor)\.\w+Error",
    ),
    _sign(
        End.MODULE_MISSING, "verl-project/verl#4482, ray-project/ray#27015",
        "^(?:ModuleNotFoundError|ImportError): ", "RaySystemError.*No module named", "Error while finding module",
        r"flash_attn\b.*(?:not installed|not available)", "Flash ?Attention ?2.*(?:cannot be used|not installed)",
        r"^\S*python\S*: No module named", "Error loading module", "<raised>[Rr]eward function .*not found",
    ),
    _sign(
        End.MODULE_MISSING, "vllm-project/vllm#4207, #19656; flash-attention",
        "cannot open shared object file", "undefined symbol: ", r"\.h(?:pp)?: No such file or directory",
        r"(?:[Cc]annot|[Cc]ould not|[Ff]ailed to|[Uu]nable to) find (?:an? )?(?:C(?:\+\+)? compiler|ptxas|nvcc|gcc)",
        r"CUDA_HOME\b.*(?:not set|not exist)", r"No working C(?:\+\+)? compiler",
        r"No such file or directory: '(?:\S*/)?(?:gcc|g\+\+|cc|nvcc|ninja|ldconfig)'",
        "Ninja is required", r"\b(?:nvcc|ninja|gcc|g\+\+): (?:command )?not found", "Failed to import transformers",
        advice="the image lacks a library, a header or a compiler, or holds one of another version: take the "
        "project's image, or add to yours what the message names",
    ),
    _sign(
        End.IMAGE_UNUSABLE, "ray-project/ray",
        "Version mismatch: The cluster was started with",
        advice="the pods run different versions of Ray or Python: give them all the same image",
    ),
    # ---- the hub and the tracker ------------------------------------------------------------------------------------
    _sign(
        End.HUB_UNAVAILABLE, "allenai/open-instruct#1528, vllm-project/vllm#24541",
        r"\b(?:429|50\d)\b.*(?:Client|Server) Error.*<hub>", r"<hub>.*\b(?:429|50\d)\b", "OfflineModeIsEnabled",
        r"(?i:(?:client|server) error).*\b(?:429|50\d)\b.*<hub>", "CAS (?:service|[Cc]lient) [Ee]rror",
        "LocalEntryNotFoundError", "[Cc]ouldn't connect to '?https://(?:huggingface|hf)",
        "cannot find the requested files in the (?:disk|local) cache", "<hub>.*<net>", "<net>.*<hub>",
        "FileMetadataError", "Consistency check failed: file should be of size", "Couldn't reach .*<hub>",
    ),
    _sign(
        End.HUB_DENIED, "huggingface/huggingface_hub",
        "gated repo", "GatedRepoError", "RepositoryNotFoundError", "RevisionNotFoundError", "EntryNotFoundError",
        r"\b40[134] Client Error.*<hub>", "not a valid model identifier", "not a local folder and is not",
        "Access to model .* is restricted", "HFValidationError", "LocalTokenNotFoundError", "DisabledRepoError",
        "DatasetNotFoundError", r"modelscope\S*\.NotExistError", "^Cannot access content at: https?://",
    ),
    _sign(
        End.TRACKER_DENIED, "verl-project/verl",
        "api_key not configured", "[Nn]o API[- ]key configured", "API key must",
        r"<tracker>.*(?:\b40[13]\b|(?i:permission[ _]denied)|[Ii]nvalid|[Uu]nauthorized|AuthenticationError)",
        r"<tracker>.*(?:not logged in|not found|(?i:api[ _-]?key) (?:is )?(?:required|missing|not (?:provided|set)))",
    ),
    _sign(
        End.TRACKER_UNAVAILABLE, "verl-project/verl",
        r"^wandb\.\S*Error\b", "Run initialization has timed out",
    ),
    _sign(
        End.TRACKER_UNAVAILABLE, "verl-project/verl",
        r"<tracker>.*(?:[Tt]imed out|\b50\d\b|Max retries|[Nn]etwork error|Connection)",
        rank=Rank.CLIENT,  # it also says so while a run that failed is being ended
    ),
    # ---- the model --------------------------------------------------------------------------------------------------
    _sign(
        End.MODEL_UNUSABLE, "vllm-project/vllm, huggingface/transformers",
        "Model architectures .*(?:not supported|failed to be inspected)", "does not recognize this architecture",
        "Unrecognized (?:model in|configuration class)", "[Cc]an't load (?:the )?(?:tokenizer|model|config)",
        "Couldn't instantiate the backend tokenizer", r"Tokenizer class \S+ does not exist",
        "does not appear to have a file", r"\bno file named \S+.*found in", "Cannot find any model weights",
        "untagged enum ModelWrapper", "no module or parameter named", r"KeyError: '[\w.]*\blayers\.\d+\.",
        "size mismatch for ", "in loading state_dict", "while deserializing header", "<raised>rope_scaling",
        "is not the path to a directory containing a file", "Unable to load weights", "[Cc]annot find the config",
        "Trying to set a tensor of shape",
        r"KeyError: .* \(in \S*(?:transformers|vllm/model_executor)/", "HeaderTooLarge", "<raised>trust_remote_code",
        "contains custom code which must be executed", "[Ii]nvalid load key",
    ),
    _sign(End.INVALID_OVERRIDE, "verl-project/verl", "<refused>[Mm]ust be one of \\W"),  # of the model's own, too
    # ---- network between the workers --------------------------------------------------------------------------------
    _sign(
        End.PORT_IN_USE, "vllm-project/vllm#11617, verl-project/verl#5889",
        "EADDRINUSE", "[Aa]ddress already in use", r"\[Errno 98\]", "failed to listen on any local network address",
        r"[Pp]ort \S+ (?:is )?(?:already )?(?:in use|taken|occupied)",
        "[Ff]ailed to bind (?:to )?(?:the )?(?:address|port)",
    ),
    _sign(
        End.TRAINING_FAILED, "NVIDIA/nccl",
        "ncclInvalid(?:Usage|Argument)", "Duplicate GPU detected", "NCCL error.*invalid (?:usage|argument)",
        rank=Rank.EFFECT,
        advice="NCCL was used wrongly (two ranks on one GPU?): check nodes, gpusPerNode and the overrides of "
        "placement",
    ),
    _sign(
        End.NCCL_ERROR, "NVIDIA/nccl#925, NVIDIA/nccl-tests#227",
        r"NCCL WARN (?:NET/|Net|Call to|[Cc]onnect|socket|[Cc]onnection|misc/socket|.*\bibv_)",
        rank=Rank.EFFECT,
    ),
    _sign(
        End.NCCL_TIMEOUT, "hiyouga/LlamaFactory#7396, open-mmlab/mmpretrain#1837",
        r"(?:NCCL|c10d|collective(?!_rpc)).*(?:time-?d? ?out|[Tt]iming out|(?<!cause a )hang\b)",
        "[Ww]atchdog caught collective", "detected by watchdog",
        rank=Rank.EFFECT,
    ),
    _sign(
        End.PEER_LOST, "pytorch/pytorch",
        r"gloo\b.*(?:[Cc]onnection|[Tt]imed out|[Pp]eer|find address)", "Gloo connect",
        "DistStoreError", "DistNetworkError",
        "TCPStore.*(?:failed|[Cc]onnection|recv|timed out)", "(?:sendBytes|recvValue|recvVector) failed",
        r"Rendezvous\w*Error", "connection to the C10d store has failed",
        "waiting for clients", "failed to pass monitoredBarrier", r"wait timeout after \d+ ?ms",
        rank=Rank.EFFECT,
    ),
    _sign(
        End.NCCL_ERROR, "vllm-project/vllm#10626, llm-d/llm-d#352",
        r"\bNCCL [Ee]rror", "retrieving ncclUniqueId", "nccl(?:System|Remote|Internal|UnhandledCuda)Error",
        r"(?<!c10::)DistBackendError", "NCCL communicator was aborted",
        "NET/(?:OFI|IB) .*(?:rror|fail)", r"ibv_\w+ failed", r"\bEFA\b.*(?:unresponsive|error|fail)",
        "libfabric.*(?:error|fail)",
        rank=Rank.EFFECT,
    ),
    _sign(
        End.CUDA_ERROR, "vllm-project/vllm#27194",
        "CUDA error: ", "AcceleratorError", "CUBLAS_STATUS_", "CUDNN_STATUS_", "cudaError", "device-side assert",
        "HIP error: ",
        rank=Rank.EFFECT,
    ),
    # ---- Ray's nodes ------------------------------------------------------------------------------------------------
    _sign(
        End.DRAINED, "ray-project/ray",
        r"<ray>.*(?:\bdrain(?:ing|ed)\b|preempt(?:ion|ed)\b|spot (?:notice|interrupt))",
        "DRAIN_NODE_REASON", "preemption notice", "node was terminated expectedly",
    ),
    _sign(
        End.NODE_LOST, "ray-project/ray#44680, ray-project/kuberay#3827",
        "(?:its|[Tt]he|[Oo]wner's) node (?:has (?:died|crashed)|died|was (?:lost|terminated)|is dead)",
        r"\bnode\b.*marked (?:as )?dead", "NodeDiedError", "LocalRayletDiedError",
        r"\(raylet[^)]*\).*(?:missed too many heartbeats|node failure)",
        "Raylet is terminated", "NODE_DIED", "exit type: NODE_OUT_OF",
        r"\braylet (?:process )?(?:has )?(?:died|exited)", "raylet because it is dead",
        rank=Rank.EFFECT,
    ),
    _sign(
        End.NOT_ENOUGH_GPUS, "verl-project/verl#2515, ray-project/kuberay#3414",
        r"Total available GPUs \S+ is less than",
        "[Pp]lacement group.*(?:timed? ?out|infeasible|cannot be (?:created|scheduled|fulfilled)|not (?:be )?ready)",
        "Cannot provide a placement group", "[Tt]ime-?out.*placement group", "not enough (?:GPUs|resources)",
        r"(?:required|requested|desired)\b.*\bGPUs exceeds?\b",
        rank=Rank.EFFECT,
    ),
    _sign(
        End.RAY_UNAVAILABLE, "ray-project/ray#42683, ray-project/kuberay#3827",
        "(?:Actor|Task)UnschedulableError", "[Pp]lacement group.*removed", "ActorUnavailableError",
        "Failed to connect to GCS", "Could not find any running Ray instance", "GCS may have been killed",
        r"\bGCS (?:server )?(?:is |was )?(?:unavailable|down|dead|killed)", "Failed to get .* from GCS",
        "gcs_rpc_client.*(?:[Ff]ail|[Tt]imed)", "node timed out during startup", "Ray processes failed to startup",
        "(?:registered within the|register worker (?:to|with)) (?:timeout|[Rr]aylet)",
        "Unable to register worker with raylet", "RuntimeEnvSetupError", "runtime_env setup failed",
        "RaySystemError: System error: (?:Broken pipe|Connection|IOError|Unknown error|RPC|.*failed to connect)",
        "RpcError.*(?:UNAVAILABLE|[Uu]navailable|[Tt]imed out|failed to connect)", "StatusCode.UNAVAILABLE",
        "waiting for GCS to become available", "Failed to start GCS", "Failed to connect to Redis",
        r"\[RayletClient\]", "ray client connection timeout",
        rank=Rank.EFFECT,
    ),
    _sign(
        End.OBJECT_LOST, "ray-project/ray",
        r"Object(?:Lost|FetchTimedOut|ReconstructionFailed\w*|Freed)Error", "OwnerDiedError",
        "ReferenceCountingAssertion", "[Ii]ts owner has died",
        rank=Rank.EFFECT,
    ),
    _sign(
        End.JOB_LOST, "ray-project/ray",
        "TaskCancelledError", "Ray job .*(?:stopped|cancelled)",
        rank=Rank.EFFECT,
    ),
    _sign(
        End.ENGINE_STALLED, "vllm-project/vllm#17965",
        r"RPC call to \w+ timed out", "(?:execute_model|sample_tokens) timed out",
        "No available (?:shared memory )?(?:broadcast )?block", "Timed out waiting for engine",
        rank=Rank.EFFECT,
    ),
    _sign(
        End.SERVICE_UNAVAILABLE, "facebookresearch/hydra",
        "<client>(?:Connect|Timeout|MaxRetry|NameResolution|Server|Protocol|Disconnect)",
        "<client>(?:Payload|OSError|Chunked|Incomplete)",
        r"openai\.(?:API(?:Connection|Timeout)|RateLimit|InternalServer)Error", r"socket\.gaierror",
        r"^[\w.]*(?:HTTPError|HTTPStatusError|ClientResponseError)\b.*\b(?:429|50\d)\b",
        r"An error occurred \((?:SlowDown|Throttl\w*|ServiceUnavailable|InternalError|RequestTimeout|50\d)\)",
        r"^\w+Error: \[Errno (?:101|110|111|113)\]", "Temporary failure in name resolution",
        r"Error code: (?:429|5\d\d)\b", r"HTTPS?ConnectionPool\(host=", r"StatusCode\.DEADLINE_EXCEEDED",
        "<raised><lost>",
        rank=Rank.CLIENT,
    ),
    # ---- refusals whose words nobody listed: the same settings would be refused again --------------------------------
    _sign(
        End.INVALID_OVERRIDE, "verl-project/verl, vllm-project/vllm",
        r"^NotImplementedError: \S",
        r"<refused>\b(?:must|should|requires?|required|needs? to|ha(?:s|ve) to|[Oo]nly|not (?:yet )?support(?:s|ed)|"
        r"[Pp]lease|[Ee]ither|not allowed|[Ii]ncompatible|at least one|cannot be (?:used|combined|set|enabled))\b",
        r"<refused>\b(?:[Uu]nknown|[Uu]nsupported|[Uu]nrecognized|[Ii]nvalid|[Cc]annot find) .*\b[a-z]+[_.][a-z]",
        starting=True,
        advice="verl, vLLM or torch refused before the first step what the settings ask for: the message says what; "
        "change that setting, the data or the model",
    ),
    # ---- vague: a process ended, and something else may say why -----------------------------------------------------
    _sign(
        End.WORKER_CRASHED, "verl-project/verl#439",
        "WorkerCrashedError", r"[1-9]\d* Workers crashed due to other",
        rank=Rank.VAGUE,
    ),
    _sign(
        End.WORKER_CRASHED, "ray-project/ray",
        "Fatal Python error", "[Ss]egmentation fault", r"SIGSEGV\b(?! or)", "core dumped",
        rank=Rank.VAGUE,
    ),
    _sign(
        End.WORKER_KILLED, "pytorch/pytorch",
        r"\bSignal 9 \(SIGKILL\)", r"(?:with signal |<Signals\.)SIGKILL\b",
        r"\bexitcode *: -9\b", "killed by signal: Killed",
        r"^Killed$", r"line \d+: +\d+ Killed\b",
        rank=Rank.VAGUE,
    ),
    _sign(End.NCCL_ERROR, "NVIDIA/nccl", "NCCL WARN", rank=Rank.VAGUE),
    _sign(
        End.NOT_ENOUGH_GPUS, "ray-project/kuberay#3414",  # said of every start while the workers join
        "resource request cannot be scheduled", "No available node types can fulfill",
        rank=Rank.VAGUE,
    ),
    _sign(
        End.WORKER_DIED, "verl-project/verl#472, #4921; Unakar/Logic-RL#18",
        "Worker unexpectedly exits", "worker process has died", "The actor died unexpectedly",
        "The actor is dead because", "exit type: SYSTEM_ERROR", "Worker exit detail", r"Worker proc \S+ died",
        rank=Rank.VAGUE,
    ),
    # ---- echoes: they point at something else -----------------------------------------------------------------------
    _sign(
        End.TRAINING_FAILED, "vllm-project/vllm#17618",
        "RayTaskError", "RayActorError", "ActorDiedError", "Failed to unpickle serialized exception",
        "EngineDeadError", "Engine core initialization failed", "EngineCore (?:encountered|died|failed)",
        "[Ss]ee (?:root cause|stack trace)", "WorkerProc (?:initialization failed|hit)",
        "Background loop has errored", "InstantiationException", "Error executing job with overrides",
        "HYDRA_FULL_ERROR", "CalledProcessError", "ChildFailedError", "ExceptionGroup",
        r"^(?:asyncio\.\w+\.)?(?:SystemExit|KeyboardInterrupt|CancelledError|BrokenPipeError|ConnectionResetError|EOFError)",
        "GetTimeoutError", r"^RuntimeError: [Cc]ancell?ed\b",
        "Event loop is closed", "DataLoader worker .* exited unexpectedly",
        "(?:Inductor|CppCompile)Error", "BackendCompilerFailed",
        rank=Rank.ECHO,
    ),
)  # fmt: skip
