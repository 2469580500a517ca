"""Signs of words that nobody listed: what kind of trouble an exception tells of, and of what it speaks.

They come last, after every sign that names its library's own sentence. Each is anchored to a raised exception and asks
for two things in it, in any order: a word of trouble (not found, timed out, mismatch, unsupported, NaN) and a word of
what it befell (the model, the data, a server, an engine). What would be final counts only where no step was ever
trained (`starting`): the same settings would be refused again, whereas later it is a fault of one step.
"""

from __future__ import annotations

from flywheel_api.ends import End
from flywheel_api.sign_rows import Rank, Sign, sign


def _said(*words: str) -> str:
    """A raised exception that has one of each of these words."""
    return "^(?=<exception>)" + "".join(f"(?=.*(?i:{word}))" for word in words)


def _refused(*words: str) -> str:
    """The same, without what a slip of a program raises, whose words name variables, and what the disk answered."""
    slips = "Type|Attribute|Key|Index|Name|UnboundLocal|ZeroDivision"
    return rf"^(?!(?:{slips})Error\b)(?!.*\bos error \d)" + _said(*words).removeprefix("^")


def _of_others(*words: str) -> str:
    """A raised exception with one of each of these words, but none by which a program judges its own values."""
    slips = "Type|Attribute|Key|Index|Name|UnboundLocal|ZeroDivision|Value|Assertion|NotImplemented"
    return rf"^(?!(?:(?:{slips})Error\b|Value error,|Assertion failed,))" + _said(*words).removeprefix("^")


_LACK = (
    r"\b(?:not (?:be )?found|missing|(?:does|do|did)(?: not|n't) (?:exist|contain|have|match|appear)|no such|"
    r"mismatch\w*|corrupt\w*|truncated|malformed|incomplete|empty|invalid|unknown|unexpected|unrecogni[sz]ed|unsupported|"
    r"not (?:a )?(?:valid|supported|compatible|implemented|loaded|readable)|no longer|incompatible|"
    r"(?:can ?not|could not|can't|couldn't|unable to|fail(?:ed|s)? to) (?:be )?(?:\w+ )?"
    r"(?:find|load|read|open|parse|decode|locate|cast|convert|instantiate|deserialize|resolve|determine|infer|build))"
)
_MODEL = (
    r"\b(?:tokenizers?|vocab\w*|sentencepiece|modelproto|safetensors?(?:_rust)?|weights?|state[_ ]?dict|lm_head|"
    r"embed_tokens|model[ _]type|architectures?|pretrained|adapter\w*|lora (?:weights?|modules?)|gguf|merges|"
    r"model (?:config\w*|class|file|path|card)|config\.json|processor)\b"
)
_DATA = (
    r"(?:\b(?:columns?|features?|schemas?|parquet|arrow|data ?sets?|datasets?|splits?|dataloader|snappy|zstd|"
    r"compressed data|data files?|train(?:ing)? (?:set|data|file))\b|\.(?:parquet|jsonl|csv|arrow)\b)"
)
_VERSION = (
    r"(?:\bversions?\b.{0,99}\b(?:required|incompatib\w*|not compatible|mismatch\w*|conflicts?|too old|too new|upgrade|"
    r"downgrade|at least|or (?:later|newer|higher|above))|"
    r"\b(?:requires?|required|needs?|upgrade|downgrade|install\w*)\b.{0,300}(?:\bversions?\b|[<>=~]=\s?v?\d)|"
    r"binary incompatib|compiled (?:using|with|against|for) .{0,300}(?:cannot|can't|but)|pip install)"
)
_AGAIN = (
    r"\b(?:after|for|in) \d+ (?:re-?tries|retry|attempts?|times|tries)\b|"
    r"\bmax(?:imum)? (?:number of )?(?:retries|attempts)"
)
_SERVER = r"\b(?:requests?|api|servers?|services?|endpoints?|hosts?|urls?|https?|connect\w*|gateway|proxy|sandbox)\b"
_AWAY = (
    r"\b(?:not (?:be )?(?:reach\w*|respond\w*|available)|un(?:reachable|available|responsive)|timed? ?out|no response|"
    r"refused (?:to connect|(?:the )?connection)|connection (?:was )?refused|disconnect\w*|closed the connection|"
    r"overloaded|too busy|server is busy|rate[ -]?limit\w*)\b"
)
_ITS_OWN_FAULT = (  # what a client or a server says of the request itself, which the same request would be told again
    r"(?![\w.]*(?:BadRequest|NotFound|Authentication|Permission|Invalid|Validation|Unprocessable|Missing|Unique|Violation|"
    r"Duplicate|Data|Response|Programming|Integrity|Syntax|Container|Decode|QueryCancel)\w*)(?!.*\b4(?:0[0-79]|1\d|22)\b)"
)
_ENGINE = r"\b(?:engines?|engine_?core|rollouts?|workers?|schedulers?|executors?|generat(?:ion|e)|sglang|vllm)\b"
_STUCK = r"\b(?:timed? ?out|unresponsive|not respond\w*|no response|hung|hang(?:s|ing)?|stuck|heartbeat)\b"
_REFUSAL = (
    r"\b(?:not (?:yet |currently |be )?(?:supported|implemented|compatible)|unsupported|incompatible|at most \d+|"
    r"(?:does|do)(?: not|n't) (?:yet |currently )?support)\b"
)

FAMILY_SIGNS: tuple[Sign, ...] = (
    # ---- numbers and memory -----------------------------------------------------------------------------------------
    sign(
        End.NOT_A_NUMBER, "NVIDIA/Megatron-LM, microsoft/DeepSpeed",
        _said(
            r"\b(?:loss\w*|grad\w*|norm|logits?|log_?probs?|prob\w*|rewards?|advantages?|entropy|weights?|param\w*|"
            r"activations?|outputs?|tensors?)\b",
            r"\b(?:nans?|infs?|infinit[ey]|inf/nan|nan/inf|non-?finite|not finite)\b",
        ),
        r"^FloatingPointError: ", _said("loss scale already at minimum"),
    ),
    sign(
        End.OUT_OF_MEMORY, "pytorch/pytorch",
        _said(
            r"out[ _]of[ _]memory|(?:insufficient|not enough) .{0,20}memory|"
            r"(?:fail\w*|unable|cannot|can't) (?:to )?allocate",
            r"\b(?:host|cpu|ram|pinned|numa)\b",
        ),
        advice="the pod's memory is full: lower algorithm.microBatchSize, maxPromptTokens or maxResponseTokens, or "
        "raise its memory limit",
    ),
    sign(
        End.DEVICE_OUT_OF_MEMORY, "openxla/xla, NVIDIA/TensorRT-LLM",
        _said(
            r"out[ _]of[ _](?:(?:device|gpu|cuda|video) )?memory|(?:insufficient|not enough) .{0,20}memory|"
            r"(?:fail\w*|unable|cannot|can't) (?:to )?allocate .*(?:memory|bytes|\b[KMG]i?B)\b"
        ),
    ),
    # ---- servers and peers ------------------------------------------------------------------------------------------
    sign(
        End.SERVICE_UNAVAILABLE, "TideDra/lmm-r1#83, NovaSky-AI/SkyRL#14",
        _of_others(rf"{_SERVER}(?!.*\b(?:pars(?:e|ed|ing)|user code|invalid)\b)", _AGAIN),
        _of_others(r"\b(?:servers?|services?|endpoints?|gateway|proxy|api)\b", _AWAY),
        _said(
            r"(?:\bhttp|status(?:[ _]code)?|<response|\bresponse code)\W{1,4}(?:code\W+)?(?:429|50[0234])\b"
            r"(?! (?:is\b|[a-z]+s\b))"  # not a number of things, nor one that is spoken of
        ),
        _said(
            r"name or service not known|name does not resolve|getaddrinfo|nodename nor servname|no such host|"
            r"no address associated|dns (?:resolution|lookup|query)\b.*fail"
        ),
        r"^(?:socket\.timeout|TimeoutError): (?:timed out|The (?:read|write|connect|handshake) operation timed out)",
        r"^[\w.]*URLError: .*(?:timed out|\[Errno -?\d+\])", r"UNEXPECTED_EOF_WHILE_READING",
        rf"^{_ITS_OWN_FAULT}<module>[\w.]+: (?:.*(?i:timed? ?out|\bbusy\b|unavailable)|(?:.*\b(?:code|status|http)\b)?"
        r"\W*(?:429|50[0-4])\b)",
        rank=Rank.CLIENT,
    ),
    sign(
        End.PEER_LOST, "meta-pytorch/torchx#540",
        r"^RuntimeError: (?:\[[^\]]*\] ?)?"
        r"(?i:broken pipe|connection (?:was )?(?:reset|closed)|socket (?:timeout|closed))",
        _of_others(
            r"\b(?:rendezvous|tcpstore|rank ?\d+|peers?)\b",
            r"\b(?:timed? ?out|connection (?:refused|reset|closed|lost)|refused (?:the )?connection|broken pipe|"
            r"unreachable)\b",
        ),
        rank=Rank.EFFECT,
    ),
    sign(
        End.ENGINE_STALLED, "vllm-project/vllm, sgl-project/sglang",
        _said(_ENGINE, _STUCK),
        rank=Rank.EFFECT,
    ),
    # ---- the image, the hardware, the model, the data ---------------------------------------------------------------
    sign(
        End.MODULE_MISSING, "numpy/numpy, huggingface/transformers",
        _refused(_VERSION), r"^AttributeError: module '[\w.]+' has no attribute",
        r"^[\w.]*(?:VersionConflict|DistributionNotFound|PackageNotFoundError)\b",
        starting=True,
        advice="two libraries of the image do not fit together, or one is of another version than is needed: take the "
        "project's image, or the version that the message names; if the module is your own, correct the name in it",
    ),
    sign(
        End.GPU_UNSUPPORTED, "Dao-AILab/flash-attention",
        _said(
            r"\bsm_?\d\d|compute capability|\b(?:this|your|the current|current) (?:gpu|device|hardware|platform)\b|"
            r"\b(?:hopper|ampere|blackwell|volta|turing|ada)\b",
            rf"{_REFUSAL}|\bonly (?:supports?|supported|available|works)\b|\brequires?\b|not available",
        ),
        starting=True,
    ),
    sign(
        End.DATA_UNUSABLE, "huggingface/datasets, apache/arrow",
        _refused(_DATA, _LACK),
        starting=True,
        advice="the data set cannot be read or lacks what the training asks of it, and the message says what: correct "
        "the file or its columns",
    ),
    sign(
        End.MODEL_UNUSABLE, "huggingface/transformers, huggingface/tokenizers",
        _refused(_MODEL, _LACK),
        r"^FileNotFoundError: .*(?:\.safetensors|\b(?:\w*config|tokenizer\w*|vocab|merges|special_tokens_map|"
        r"adapter\w*|pytorch_model\S*|model\S*index)\.(?:json|txt|bin|model))\b",
        starting=True,
        advice="the model's files cannot be used as they are, and the message says which: a file is missing, cut or of "
        "another release of transformers; another model, or a newer image",
    ),
    # ---- settings: the same would be refused again ------------------------------------------------------------------
    sign(
        End.INVALID_OVERRIDE, "verl-project/verl, vllm-project/vllm",
        r"^NotImplementedError: \S", r"^RuntimeError: .*\bonly supports?\b",
        r"<refused>\b(?:must|should|requires?|required|needs? to|ha(?:s|ve) to|[Oo]nly|not (?:yet )?support(?:s|ed)?|"
        r"[Pp]lease|[Ee]ither|not allowed|[Ii]ncompatible|at least one|cannot be (?:used|combined|set|enabled)|"
        r"[Cc]an(?:'t|not| not) (?:use|train|combine|enable|have|run|mix|apply|specify|handle|support))\b",
        r"<refused>\b(?:[Uu]nknown|[Uu]nsupported|[Uu]nrecognized|[Ii]nvalid|[Cc]annot find) .*\b[a-z]+[_.][a-z]",
        rf"^(?:AttributeError|RuntimeError|TypeError|Exception): (?!unsupported (?:operand|format)|"
        rf".*object does not support)(?=.*(?i:{_REFUSAL}))",
        starting=True,
        advice="verl, vLLM or torch refused before the first step what the settings ask for: the message says what; "
        "change that setting, the data or the model",
    ),
)  # fmt: skip
