"""Signs of what cannot work as it is asked for: settings, data, images, models, and what hub and tracker refuse."""

from __future__ import annotations

from flywheel_api.ends import End
from flywheel_api.sign_rows import Rank, Sign, sign

SETTING_SIGNS: tuple[Sign, ...] = (
    # ---- settings ---------------------------------------------------------------------------------------------------
    sign(
        End.NO_CHAT_TEMPLATE, "verl-project/verl#390, OpenRLHF/OpenRLHF#613",
        r"\bchat[ _]template\b.*(?:is not set|not set|no longer allowed|not (?:have|found|defined))",
        "(?:not have|no|without|missing) (?:a |any )?(?:default )?chat[ _]template",
        "Cannot use (?:apply_)?chat.template",
    ),
    sign(
        End.DATA_UNUSABLE, "allenai/open-instruct#1796",
        "dataloader is empty", r"filter dataset len: 0\b", "but got num_samples=0", "[Dd]ataset is empty",
        "[Ee]mpty dataset", "KeyError: '(?:prompt|raw_prompt|data_source|reward_model)'",
        r"<raised>\b[Cc]olumns?\b.*(?:not|missing|exist)", "CastError: ",
        r"^\w+Error: Couldn't cast\b", "datasets dtype equivalent", "same data file format", r"any data files\b",
        r"Arrow(?:Invalid|TypeError|KeyError|IndexError|NotImplementedError|CapacityError)\b", "[Dd]ata files? must be",
        "Parquet magic bytes",
        "DatasetGenerationError",
        r"FileNotFoundError: (?!.*(?:config|tokenizer\w*|vocab|index|adapter\w*|map)\.json).*\.(?:parquet|jsonl?)\b",
    ),
    sign(
        End.DATA_UNUSABLE, "vllm-project/vllm, huggingface/transformers",
        r"^jinja2\.(?:\w+\.)?\w+Error: ",
        starting=True,
        advice="the model's chat template refuses these messages, and says why: correct the data (roles, their order), "
        "or give the tokenizer another chat_template",
    ),
    sign(
        End.PROMPT_TOO_LONG, "vllm-project/vllm",
        "longer than the maximum model length", r"maximum context length is \d+",
        "greater than the derived max_model_len", r"exceeds? (?:the )?model's max.*(?:length|len|tokens)\b",
        advice="prompt and response are longer than the model's window: lower maxPromptTokens or maxResponseTokens, or "
        "take a model with a longer one",
    ),
    sign(
        End.PROMPT_TOO_LONG, "vllm-project/vllm",
        r"[Pp]rompt (?:\(length|length|of length) ?\(?\d+\)?.*(?:longer|exceed|larger|greater)",
        r"sequence_length=\d+ is larger than (?:self\.)?max_length",
        r"exceeds? (?:the )?max.*(?:length|len|tokens)\b",
    ),
    sign(
        End.SIZES_DO_NOT_FIT, "verl-project/verl#473, hiyouga/EasyR1#44",
        r"<raised>(?:\bdivisible\b|\bevenly\b|\ba multiple of\b|cannot be divided|\bmust divide\b)",
        "only support equal chunk",
    ),
    sign(
        End.SIZES_DO_NOT_FIT, "verl-project/verl, vllm-project/vllm",
        r"<raised>(?:_size|max_\w+)\b.*(?:must be (?:>|greater|larger|at least)|is (?:smaller|less) than|not equal)",
        r"<raised>is (?:greater|larger) than (?:the )?max_\w+",
        r"<raised>assert (?:self\.)?config\..*_size\b.*(?:%|[<>]=?|==)",
        r"<raised>larger than the (?:total )?number of (?:available )?GPUs",
        advice="two sizes contradict each other, and the message names them: correct algorithm, "
        "rolloutTensorParallel or spec.overrides",
    ),
    sign(
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
        r"(?:estimator|mode|strategy|penalty|manager|scheduler|optimizer|backend|option|engine|algorithm|dtype|"
        r"quantization|precision|parser)\b",
        "<refused>(?:[Cc]annot override|[Ee]ither .* or (?:un)?set)",
        r"\berror: (?:unrecognized arguments|argument \S+: |the following arguments are required)",
        r"\byaml\.(?:scanner|parser|composer|constructor)\.\w+Error",
    ),
    sign(
        End.MODULE_MISSING, "vllm-project/vllm#4207, #19656; flash-attention",
        "cannot open shared object file", "undefined symbol: ", r"version .(?:GLIBC|GLIBCXX|CXXABI)_\S+ not found",
        r"(?i:detected CUDA version) \(", "the version that was used to compile",
        r"\.h(?:pp)?: No such file or directory",
        r"(?:[Cc]annot|[Cc]ould not|[Ff]ailed to|[Uu]nable to) find (?:an? )?(?:C(?:\+\+)? compiler|ptxas|nvcc|gcc)",
        r"CUDA_HOME\b.*(?:not set|not exist)", r"No working C(?:\+\+)? compiler",
        r"No such file or directory: '(?:\S*/)?(?:gcc|g\+\+|cc|nvcc|ninja|ldconfig)'",
        "Ninja is required", r"\b(?:nvcc|ninja|gcc|g\+\+): (?:command )?not found", "Failed to import transformers",
        advice="the image lacks a library, a header or a compiler, or holds one of another version: take the "
        "project's image, or add to yours what the message names",
    ),
    sign(
        End.MODULE_MISSING, "verl-project/verl#4482, ray-project/ray#27015",
        "^(?:ModuleNotFoundError|ImportError): ", "RaySystemError.*No module named", "Error while finding module",
        r"flash_attn\b.*(?:not installed|not available)", "Flash ?Attention ?2.*(?:cannot be used|not installed)",
        r"^\S*python\S*: No module named", "Error loading module", "<raised>[Rr]eward function .*not found",
        "No matching distribution found for",
    ),
    sign(
        End.IMAGE_UNUSABLE, "ray-project/ray",
        "Version mismatch: The cluster was started with",
        advice="the pods run different versions of Ray or Python: give them all the same image",
    ),
    # ---- the hub and the tracker ------------------------------------------------------------------------------------
    sign(
        End.HUB_UNAVAILABLE, "huggingface/huggingface_hub",
        "<hub>.*(?i:certificate[ _]verify[ _]failed)",
        advice="the image does not trust the certificate that the model hub, or a proxy before it, shows: add its CA "
        "and name it (SSL_CERT_FILE, REQUESTS_CA_BUNDLE), or fetch the model from a store",
    ),
    sign(
        End.HUB_UNAVAILABLE, "allenai/open-instruct#1528, vllm-project/vllm#24541",
        r"\b(?:429|50\d)\b.*(?:Client|Server) Error.*<hub>", r"<hub>.*\b(?:429|50\d)\b", "OfflineModeIsEnabled",
        r"(?i:(?:client|server) error).*\b(?:429|50\d)\b.*<hub>", "CAS (?:service|[Cc]lient) [Ee]rror",
        "LocalEntryNotFoundError", "[Cc]ouldn't connect to '?https://(?:huggingface|hf)",
        "cannot find the requested files in the (?:disk|local) cache", "<hub>.*<net>", "<net>.*<hub>",
        "FileMetadataError", "Consistency check failed: file should be of size", "Couldn't reach .*<hub>",
    ),
    sign(
        End.HUB_DENIED, "huggingface/huggingface_hub",
        "gated repo", "GatedRepoError", "RepositoryNotFoundError", "RevisionNotFoundError", "EntryNotFoundError",
        r"\b40[1-4] Client Error.*<hub>", "^(?=<exception>)(?=.*<hub>).*<denied>",
        "not a valid model identifier", "not a local folder and is not",
        "Access to model .* is restricted", "HFValidationError", "LocalTokenNotFoundError", "DisabledRepoError",
        "DatasetNotFoundError", r"modelscope\S*\.NotExistError", "^Cannot access content at: https?://",
    ),
    sign(
        End.TRACKER_DENIED, "verl-project/verl",
        "api_key not configured", "[Nn]o API[- ]key configured", "API key must",
        r"<tracker>.*(?:\b40[13]\b|(?i:permission[ _]denied)|[Ii]nvalid|[Uu]nauthorized|AuthenticationError)",
        r"^<tracker>\.[\w.]+: .*(?:<denied>|does not (?:exist|contain)|RESOURCE_DOES_NOT_EXIST|\b404\b)",
        r"<tracker>.*(?:not logged in|not found|(?i:api[ _-]?key) (?:is )?(?:required|missing|not (?:provided|set)))",
    ),
    sign(
        End.TRACKER_UNAVAILABLE, "verl-project/verl",
        r"^wandb\.\S*Error\b", "Run initialization has timed out",
    ),
    sign(
        End.TRACKER_UNAVAILABLE, "verl-project/verl",
        r"<tracker>.*(?:[Tt]imed out|\b50\d\b|Max retries|[Nn]etwork error|Connection)",
        rank=Rank.CLIENT,  # it also says so while a run that failed is being ended
    ),
    # ---- the model --------------------------------------------------------------------------------------------------
    sign(
        End.MODEL_UNUSABLE, "vllm-project/vllm, huggingface/transformers",
        "Model architectures .*(?:not supported|failed to be inspected)", "does not recognize this architecture",
        "Unrecognized (?:model in|configuration class)", "[Cc]an't load (?:the )?(?:tokenizer|model|config)",
        "Couldn't instantiate the backend tokenizer", r"Tokenizer class \S+ does not exist",
        "weights were not initialized from", r"load(?:ed)? weights? (?:of size )?\(?torch\.Size",
        "Converting from SentencePiece", "config file at .* is not a valid JSON file", "vulnerability issue in .?torch",
        "Can't instantiate a (?:processor|tokenizer|model)",
        "does not appear to have a file", r"\bno file named \S+.*found in", "Cannot find any model weights",
        r"untagged enum \w+", "no module or parameter named", r"KeyError: '[\w.]*\blayers\.\d+\.",
        "size mismatch for ", "in loading state_dict", "while deserializing header", "<raised>rope_scaling",
        "is not the path to a directory containing a file", "Unable to load weights", "[Cc]annot find the config",
        "Trying to set a tensor of shape",
        r"KeyError: .* \(in \S*(?:transformers|vllm/model_executor)/", "HeaderTooLarge", "<raised>trust_remote_code",
        "contains custom code which must be executed", "[Ii]nvalid load key",
    ),
    sign(End.INVALID_OVERRIDE, "verl-project/verl", "<refused>[Mm]ust be one of \\W"),  # of the model's own, too
)  # fmt: skip
