"""Signs of what goes on between processes: the network, Ray, servers, and processes that ended without a word."""

from __future__ import annotations

from flywheel_api.ends import End
from flywheel_api.sign_rows import Rank, Sign, sign

CLUSTER_SIGNS: tuple[Sign, ...] = (
    # ---- network between the workers --------------------------------------------------------------------------------
    sign(
        End.PORT_IN_USE, "vllm-project/vllm#11617, verl-project/verl#5889",
        "EADDRINUSE", "[Aa]ddress already in use", r"\[Errno 98\]", "failed to listen on any local network address",
        r"[Pp]ort \S+ (?:is )?(?:already )?(?:in use|taken|occupied)",
        "[Ff]ailed to bind (?:to )?(?:the )?(?:address|port)",
    ),
    sign(
        End.CUDA_ERROR, "vllm-project/vllm#27194",
        r"CUDA (?:driver )?error: ", r"cuda runtime error \(\d+\)", r"\.cuh?:\d+: .*Assertion `",
        "AcceleratorError", "(?i:cudnn) (?:Frontend )?error: ", "CUBLAS_STATUS_",
        "CUDNN_STATUS_", "cudaError", "device-side assert",
        "HIP error: ", r"Triton Error \[",
        r"Cuda failure (?:\d+ )?'(?:unspecified launch|an illegal|misaligned|device-side|the launch timed)",
        rank=Rank.FAULT,  # peers that wait for this process time out after it
    ),
    sign(
        End.TRAINING_FAILED, "NVIDIA/nccl",
        "ncclInvalid(?:Usage|Argument)", "Duplicate GPU detected", "NCCL error.*invalid (?:usage|argument)",
        rank=Rank.EFFECT,
        advice="NCCL was used wrongly (two ranks on one GPU?): check nodes, gpusPerNode and the overrides of "
        "placement",
    ),
    sign(
        End.NCCL_ERROR, "NVIDIA/nccl#925, NVIDIA/nccl-tests#227",
        r"NCCL WARN (?:NET/|Net|Call to|[Cc]onnect|socket|[Cc]onnection|misc/socket|.*\bibv_)",
        rank=Rank.EFFECT,
    ),
    sign(
        End.NCCL_TIMEOUT, "hiyouga/LlamaFactory#7396, open-mmlab/mmpretrain#1837",
        r"(?:NCCL|c10d|collective(?!_rpc)).*(?:time-?d? ?out|[Tt]iming out|(?<!cause a )hang\b)",
        "[Ww]atchdog caught collective", "detected by watchdog",
        rank=Rank.EFFECT,
    ),
    sign(
        End.PEER_LOST, "pytorch/pytorch",
        r"gloo\b.*(?:[Cc]onnection|[Tt]imed out|[Pp]eer|find address)", "Gloo connect",
        "DistStoreError", "DistNetworkError",
        "TCPStore.*(?:failed|[Cc]onnection|recv|timed out)", "(?:sendBytes|recvValue|recvVector) failed",
        r"Rendezvous\w*Error", "connection to the C10d store has failed",
        "waiting for clients", "failed to pass monitoredBarrier", r"wait timeout after \d+ ?ms",
        rank=Rank.EFFECT,
    ),
    sign(
        End.NCCL_ERROR, "vllm-project/vllm#10626, llm-d/llm-d#352",
        r"\bNCCL [Ee]rror", "retrieving ncclUniqueId", "nccl(?:System|Remote|Internal|UnhandledCuda)Error",
        r"(?<!c10::)DistBackendError", "NCCL communicator was aborted",
        "NET/(?:OFI|IB) .*(?:rror|fail)", r"ibv_\w+ failed", r"\bEFA\b.*(?:unresponsive|error|fail)",
        "libfabric.*(?:error|fail)", r"(?:^|: )Net : ", r"Proxy Call to rank \d+ failed", r"IBV_WC_\w*ERR",
        "transport retry counter exceeded",
        r"(?i:\b(?:mlx\d(?:_\d+)?|rdma|roce|infiniband|ibverbs|ucx|hccl)\b.*(?:error|fail|timed? ?out))",
        rank=Rank.EFFECT,
    ),
    # ---- Ray's nodes ------------------------------------------------------------------------------------------------
    sign(
        End.DRAINED, "ray-project/ray",
        r"<ray>.*(?:\bdrain(?:ing|ed)\b|preempt(?:ion|ed)\b|spot (?:notice|interrupt))",
        "DRAIN_NODE_REASON", "preemption notice", "node was terminated expectedly",
    ),
    sign(
        End.NODE_LOST, "ray-project/ray#44680, ray-project/kuberay#3827",
        "(?:its|[Tt]he|[Oo]wner's) node (?:has (?:died|crashed)|died|was (?:lost|terminated)|is dead)",
        r"\bnode\b.*marked (?:as )?dead", "NodeDiedError", "LocalRayletDiedError",
        r"\(raylet[^)]*\).*(?:missed too many heartbeats|node failure)",
        "Raylet is terminated", "NODE_DIED", "exit type: NODE_OUT_OF",
        r"\braylet (?:process )?(?:has )?(?:died|exited)", "raylet because it is dead",
        rank=Rank.EFFECT,
    ),
    sign(
        End.NOT_ENOUGH_GPUS, "verl-project/verl#2515, ray-project/kuberay#3414",
        r"Total available GPUs \S+ is less than",
        "[Pp]lacement group.*(?:timed? ?out|infeasible|cannot be (?:created|scheduled|fulfilled)|not (?:be )?ready)",
        "Cannot provide a placement group", "[Tt]ime-?out.*placement group", "not enough (?:GPUs|resources)",
        r"(?:required|requested|desired)\b.*\bGPUs exceeds?\b",
        rank=Rank.EFFECT,
    ),
    sign(
        End.RAY_UNAVAILABLE, "ray-project/ray#42683, ray-project/kuberay#3827",
        "(?:Actor|Task)UnschedulableError", "[Pp]lacement group.*removed", "ActorUnavailableError",
        "Failed to connect to GCS", "Could not find any running Ray instance", "GCS may have been killed",
        r"\bGCS (?:server )?(?:is |was )?(?:unavailable|down|dead|killed)", "Failed to get .* from GCS",
        "gcs_rpc_client.*(?:[Ff]ail|[Tt]imed)", "node timed out during startup", "Ray processes failed to startup",
        "(?:registered within the|register worker (?:to|with)) (?:timeout|[Rr]aylet)",
        "Unable to register worker with raylet", "RuntimeEnvSetupError", "runtime_env setup failed",
        "Failed to create runtime env", "while installing the runtime_env",
        "RaySystemError: System error: (?:Broken pipe|Connection|IOError|Unknown error|RPC|.*failed to connect)",
        "RpcError.*(?:UNAVAILABLE|[Uu]navailable|[Tt]imed out|failed to connect)", "StatusCode.UNAVAILABLE",
        "waiting for GCS to become available", "Failed to start GCS", "Failed to connect to Redis",
        r"\[RayletClient\]", "ray client connection timeout", "No available agent to submit",
        r"\((?:pid=)?(?:raylet|gcs_server)\b[^)]*\).*Check failed",
        rank=Rank.EFFECT,
    ),
    sign(
        End.OBJECT_LOST, "ray-project/ray",
        r"Object(?:Lost|FetchTimedOut|ReconstructionFailed\w*|Freed)Error", "OwnerDiedError",
        "ReferenceCountingAssertion", "[Ii]ts owner has died",
        rank=Rank.EFFECT,
    ),
    sign(
        End.JOB_LOST, "ray-project/ray",
        "TaskCancelledError", "Ray job .*(?:stopped|cancelled)",
        rank=Rank.EFFECT,
    ),
    sign(
        End.ENGINE_STALLED, "vllm-project/vllm#17965",
        r"RPC call to \w+ timed out", "(?:execute_model|sample_tokens) timed out",
        "No available (?:shared memory )?(?:broadcast )?block", "Timed out waiting for engine",
        "RayChannelTimeoutError", r"[Ww]atchdog timeout \(self\.",
        rank=Rank.EFFECT,
    ),
    sign(
        End.SERVICE_UNAVAILABLE, "facebookresearch/hydra",
        "<client>(?:Connect|Timeout|MaxRetry|NameResolution|Server|Protocol|Disconnect)",
        "<client>(?:Payload|OSError|Chunked|Incomplete)",
        r"openai\.(?:API(?:Connection|Timeout)|RateLimit|InternalServer)Error", r"socket\.gaierror",
        r"^[\w.]*(?:HTTPError|HTTPStatusError|ClientResponseError)\b(?!.*\b40\d Client Error).*\b(?:429|50\d)\b",
        r"An error occurred \((?:SlowDown|Throttl\w*|ServiceUnavailable|InternalError|RequestTimeout|50\d)\)",
        r"^\w+Error: \[Errno (?:101|110|111|113)\]", "Temporary failure in name resolution",
        r"Error code: (?:429|5\d\d)\b", r"HTTPS?ConnectionPool\(host=", r"StatusCode\.DEADLINE_EXCEEDED",
        r"google\.api_core\.exceptions\.(?:ServiceUnavailable|TooManyRequests|InternalServerError|BadGateway|Gateway\w+|"
        r"DeadlineExceeded|RetryError)", r"azure\.core\.exceptions\.Service(?:Request|Response)\w*Error",
        r"\b[Cc]ode: (?:SlowDown|Throttl\w*|ServiceUnavailable|InternalError|RequestTimeout|XMinioServer)",
        r"AWS Error (?:NETWORK_CONNECTION|SLOW_DOWN|SERVICE_UNAVAILABLE|REQUEST_TIMEOUT|INTERNAL_FAILURE)",
        "<raised><lost>",
        rank=Rank.CLIENT,
    ),
    # ---- vague: a process ended, and something else may say why -----------------------------------------------------
    sign(
        End.WORKER_CRASHED, "verl-project/verl#439",
        "WorkerCrashedError", r"[1-9]\d* Workers crashed due to other",
        rank=Rank.VAGUE,
    ),
    sign(
        End.WORKER_CRASHED, "ray-project/ray",
        "Fatal Python error", "[Ss]egmentation fault", r"SIGSEGV\b(?! or)", "core dumped",
        r"^(?:Floating point exception|Illegal instruction)\b", r"\bexit ?code *: -(?:4|6|8|11)\b",
        r"^(?:double free or corruption|corrupted (?:size|double)|(?:free|malloc|munmap_chunk|realloc)\(\): )",
        "stack smashing detected", "terminate called after throwing", r"\bCheck failed: ",
        rank=Rank.ENDED,
    ),
    sign(End.TERMINATED, "pytorch/pytorch", r"SignalException: Process \d+ got signal: 15\b", rank=Rank.ENDED),
    sign(
        End.WORKER_KILLED, "pytorch/pytorch",
        r"\bSignal 9 \(SIGKILL\)", r"(?:with signal |<Signals\.)SIGKILL\b",
        r"\bexit ?code *: -9\b", "killed by signal: Killed",
        r"^Killed$", r"line \d+: +\d+ Killed\b",
        rank=Rank.ENDED,
    ),
    sign(End.NCCL_ERROR, "NVIDIA/nccl", "NCCL WARN", rank=Rank.VAGUE),
    sign(
        End.NOT_ENOUGH_GPUS, "ray-project/kuberay#3414",  # said of every start while the workers join
        "resource request cannot be scheduled", "No available node types can fulfill",
        rank=Rank.VAGUE,
    ),
    sign(
        End.WORKER_DIED, "verl-project/verl#472, #4921; Unakar/Logic-RL#18",
        "Worker unexpectedly exits", "worker process has died", "The actor died unexpectedly",
        "The actor is dead because", "exit type: SYSTEM_ERROR", "Worker exit detail", r"Worker proc \S+ died",
        rank=Rank.VAGUE,
    ),
    # ---- echoes: they point at something else -----------------------------------------------------------------------
    sign(
        End.TRAINING_FAILED, "vllm-project/vllm#17618",
        "RayTaskError", "RayActorError", "ActorDiedError", "Failed to unpickle serialized exception",
        "EngineDeadError", "Engine core initialization failed", "EngineCore (?:encountered|died|failed)",
        "[Ss]ee (?:root cause|stack trace)", "WorkerProc (?:initialization failed|hit)",
        "Background loop has errored", "InstantiationException", "Error executing job with overrides",
        "HYDRA_FULL_ERROR", "CalledProcessError", "ChildFailedError", "ExceptionGroup",
        r"^(?:asyncio\.\w+\.)?(?:SystemExit|KeyboardInterrupt|CancelledError|BrokenPipeError|ConnectionResetError|EOFError)",
        "GetTimeoutError", r"^RuntimeError: [Cc]ancell?ed\b",
        "Event loop is closed", r"PanicException: ", "DataLoader worker .* exited unexpectedly",
        "(?:Inductor|CppCompile)Error", "BackendCompilerFailed",
        rank=Rank.ECHO,
    ),
)  # fmt: skip
