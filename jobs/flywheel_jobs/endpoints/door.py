"""The one door: what a response of an endpoint is, by one table. Pure.

Every response becomes one of six outcomes (law 6). The first row of `TABLE` that fits decides. The same rows are the
table in docs/reference/endpoints.md and, by their examples, the test of this module.
"""

from __future__ import annotations

import functools
from typing import Final

from flywheel_jobs.endpoints.verdicts import Outcome, Row, Signs

STOPPED: Final = frozenset(
    {"stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete", "completed", "tool_calls", "tool_use",
     "function_call"}
)  # fmt: skip
LOOPED: Final = frozenset({"repetition", "repetition_truncation"})  # the model's own doing, which the server broke off
CUT: Final = LOOPED | {
    "length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"
}  # fmt: skip
_FILTERS = frozenset(
    {"content_filter", "content-filter", "safety", "sensitive", "recitation", "prohibited_content", "blocklist", "spii",
     "guardrail_intervened", "error_toxic", "refusal", "image_safety", "image_prohibited_content", "image_recitation",
     "model_armor", "jailbreak"}
)  # fmt: skip
_REFUSALS = frozenset(range(400, 500))
TOO_LONG = "too-long"
_ITEM = frozenset({400, 413, 422})
_SPACE = (
    r"context.?(length|window|size)|maximum context|max_model_len|too many (input )?tokens|(prompt|input) is too long"
    r"|exceed\w* (the )?(available |model.?s |maximum )?(context|number of tokens|token limit)|reduce the length"
    r"|(maximum|longer than the) (prompt|model|model.?s) length|context shift is disabled|physical batch size"
    r"|(string|tokens?).{0,40}too (long|large)|must have less than \d+ tokens|max_new_tokens. must be"
    r"|range of input length"
)
_MONEY = (
    r"insufficient.?(quota|balance|funds|credit)|credit.?balance|(no|out of|not enough) (balance|credits?|money|funds)"
    r"|exceed\w*.{0,6}current.{0,20}quota|today.s quota|inference limit"
    r"|billing.{0,30}(limit|disabled|details|not |required)|payment required"
    r"|quota.{0,60}(per.?day|daily|month)|(per.?day|daily|monthly).{0,40}(quota|limit)|(requests|tokens) per day"
    r"|budget.{0,20}exceeded|exceeded.{0,10}budget|balance.{0,10}(insufficient|not enough|too low)"
    r"|weekly.{0,20}limit|calls / month"
    r"|daily.{0,20}allocation|(key|spend\w*|specified api usage) limits?\b|call volume quota|arrear"
    r"|free.?tier.{0,40}(exhausted|only)|account.{0,60}(suspended|not active|good standing)|余额不足|欠费"
)
_FILTER = (
    r"content.?(filter|policy|management)|responsibleai|moderation|flagged|safety system|prohibited content"
    r"|data_?inspection|inappropriate content|(?<!case.)sensitive|敏感|safety_check|audit failed|censor"
    r"|violat\w+ .{0,20}(guideline|policy|policies)"
)
_FOUND = rf"(?s)^(?=.*(flagged|blocked|violat|filtered|prohibited|inappropriate)).*({_FILTER})"  # not: a filter is out
_CROWD = (
    r"throttl|rate.?limit|overloaded|queue is full|capacity.{0,20}exceeded|too many requests|please wait before"
    r"|server.{0,4}busy|high (demand|traffic)|速率限制"
)
_BLOCKED = (  # not: that a request was; nor what a filter says of an item, which may be about an account
    r"^(?!.*\b(flagged|your (input|prompt|request))\b).*"
    r"\byour (azure |openai )?(resource|subscription|account|organi[sz]ation|project|api.?key) (has been|is|was) "
    r"(temporarily |permanently )?(blocked|suspended|disabled|restricted|deactivated|terminated)"
)
_KEY = (
    r"api.?key (is )?(not valid|invalid|expired)|(invalid|incorrect) api.?key|authentication error"
    r"|location is not supported"
    r"|security token .{0,40}(expired|invalid)|organization (has been|is) (disabled|suspended|restricted)"
)
_MODEL = (
    r"invalid model name|not a valid model|unknown model|no such model|no models? (is |are )?loaded"
    r"|model_not_(available|supported|found)|provider not provided|model id.{0,60} (is invalid|isn.t supported)"
    r"|endpoint is paused"
    r"|model.{0,90} has been (decommissioned|deprecated|retired|removed)"
    r"|model( ['\"`]?\S{1,80})? (is |was |does )?not (found|exist|available|supported)"
)
_WRITES = (  # of a request that asks for more than the model ever writes, whatever the prompt
    r"^(?!.*maximum context length).*max_(completion_|output_|new_)?tokens\b.{0,60}"
    r"(too large|supports at most|less than or equal|valid range|maximum allowed)"
)
_PASSES = (
    r"\btimed?[ -]?out\b|deadline.?exceeded|try again (later|soon|shortly)|retry (later|soon|shortly)"
    r"|(temporarily|currently|service|server|backend|engine|filter\w*|moderation|scanner|classifier|guardrails?)"
    r" (is |was )?(currently |temporarily )?(unavailable|not available|unreachable|down\b|crashed|failed|error)"
    r"|\bno (healthy |available )?(deployments?|workers?|instances?|replicas?|upstreams?) (are |is )?available"
    r"|\bno (healthy|available) (deployments?|workers?|instances?|replicas?|upstreams?)"
)
_UPSTREAM = r"has crashed|internal.{0,8}error|upstream|connection (error|reset|refused)|degraded"
_LOADING = (
    r"(still|being|currently) (un)?load(ing|ed)|is (un)?loading|loading (the )?model|model_not_ready|warming up"
    r"|not (yet )?ready"
)

TABLE: Final[tuple[Row, ...]] = (
    Row(
        "402 with Retry-After",
        Outcome.BUSY,
        "busy",
        frozenset({402}),
        retry_after=True,
        examples=(Signs(402, "no balance left", retry_after=True),),
    ),
    Row(
        "402 (payment required)",
        Outcome.ENDPOINT_REFUSED,
        "no-money",
        frozenset({402}),
        advice="the account has no money or quota left: pay, or raise its limit",
        examples=(Signs(402, "no balance left"),),
    ),
    Row(
        "429 that says that this request alone is over the limit",
        Outcome.ITEM_REFUSED,
        TOO_LONG,
        frozenset({429}),
        r"request too large",
        examples=(Signs(429, "request too large for m on tokens per min (tpm): limit 30000, requested 50000"),),
    ),
    Row(
        "429 that speaks of a limit by the minute",
        Outcome.BUSY,
        "busy",
        frozenset({429}),
        r"per.?minute|(retry|try again) (in|after) [\d.]+ ?m?s",
        examples=(Signs(429, "you exceeded your current quota generaterequestsperminute"),),
    ),
    Row(
        "400, 403, 412, 429 or an error inside a 200 that speaks of money, or of a quota by the day or month",
        Outcome.ENDPOINT_REFUSED,
        "no-money",
        frozenset({200, 400, 403, 412, 429}),
        _MONEY,
        advice="the account has no money or quota left: pay, or raise its limit",
        examples=(
            Signs(429, "insufficient_quota you exceeded your current quota, please check your plan"),
            Signs(429, "credit_balance_exhausted"),
            Signs(400, "your credit balance is too low to access the api"),
            Signs(429, "quota exceeded for metric: generate_requests_per_model_per_day"),
            Signs(403, "billing is disabled for this project"),
            Signs(400, "budget_exceeded budget has been exceeded! current cost: 10.5, max budget: 10.0"),
            Signs(400, "you have reached your specified api usage limits"),
            Signs(400, "arrearage access denied, please make sure your account is in good standing"),
            Signs(403, "key limit exceeded (total limit)"),
            Signs(403, "out of call volume quota"),
            Signs(403, "sorry, your account balance is insufficient"),
            Signs(412, "account x is suspended, possibly due to failure to pay past invoices"),
            Signs(429, "you have reached your weekly usage limit, upgrade for higher limits"),
        ),
    ),
    Row(
        "any refusal that says that the model is still being loaded",
        Outcome.BUSY,
        "loading",
        _REFUSALS | {200, 500, 503},
        _LOADING,
        examples=(Signs(400, "model is still loading"), Signs(404, "loading model"), Signs(503, "loading model")),
    ),
    Row(
        "400, 403, 422, 424, 498 or an error inside a 200 that speaks of a crowd",
        Outcome.BUSY,
        "busy",
        frozenset({200, 400, 403, 422, 424, 498}),
        _CROWD,
        examples=(
            Signs(400, "throttlingexception too many tokens, please wait before trying again."),
            Signs(400, "the request queue is full."),
            Signs(403, "rate limit exceeded"),
            Signs(498, "capacity_exceeded flex tier capacity exceeded"),
            Signs(200, "overloaded_error overloaded", broken=True),
            Signs(400, "the system is currently experiencing high demand"),
        ),
    ),
    Row(
        "408, 409, 425, 429, 503, 529",
        Outcome.BUSY,
        "busy",
        frozenset({408, 409, 425, 429, 503, 529}),
        examples=(Signs(429, "slow down"), Signs(503), Signs(529, "overloaded_error"), Signs(425), Signs(408)),
    ),
    Row(
        "400 or 403 that says that the account or its resource is blocked",
        Outcome.ENDPOINT_REFUSED,
        "no-permission",
        frozenset({400, 403}),
        _BLOCKED,
        advice="the provider has blocked the account: its own console or support says why",
        examples=(
            Signs(
                403,
                "your resource has been temporarily blocked because we detected behavior that may violate our "
                "content policy",
            ),
            Signs(400, "your account has been blocked"),
        ),
    ),
    Row(
        "400, 403, 413, 422, 451, 500 or an error inside a 200 that says what a filter found",
        Outcome.ITEM_FILTERED,
        "filtered",
        _ITEM | {200, 403, 451, 500},
        _FOUND,
        examples=(
            Signs(400, "content_filter the response was filtered due to azure's content management policy"),
            Signs(403, "your input was flagged"),
            Signs(500, "blocked by content filter, try again later"),
        ),
    ),
    Row(
        "400, 403, 422, 451 or an error inside a 200 that speaks of what passes: a time-out, a service that is out",
        Outcome.OUTAGE,
        "outage",
        frozenset({200, 400, 403, 422, 451}),
        _PASSES,
        examples=(
            Signs(400, "request timed out"),
            Signs(400, "context deadline exceeded"),
            Signs(400, "the model is not currently available, try again later"),
            Signs(400, "content filter backend timed out"),
            Signs(451, "moderation is currently unavailable"),
            Signs(200, "moderation service unavailable", broken=True),
            Signs(403, "sensitive data scanner crashed"),
            Signs(400, "no deployment available, passed model=m"),
            Signs(400, "no healthy upstream"),
        ),
    ),
    Row(
        "400, 403, 413, 422, 451 or an error inside a 200 that speaks of a filter",
        Outcome.ITEM_FILTERED,
        "filtered",
        _ITEM | {200, 403, 451},
        _FILTER,
        examples=(
            Signs(400, "the prompt is against our content policy"),
            Signs(400, "data_inspection_failed input data may contain what is not allowed"),
        ),
    ),
    Row(
        "400 or 422 that says that the model never writes so many tokens",
        Outcome.ENDPOINT_REFUSED,
        "max-tokens",
        frozenset({400, 422}),
        _WRITES,
        advice="lower sampling.maxTokens of the endpoint: its model does not write so much",
        examples=(
            Signs(400, "max_tokens is too large: 100000. this model supports at most 16384 completion tokens"),
            Signs(400, "invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
        ),
    ),
    Row(
        "400, 413, 422, 500 or an error inside a 200 that speaks of the context's length",
        Outcome.ITEM_REFUSED,
        TOO_LONG,
        _ITEM | {200, 500},
        _SPACE,
        examples=(
            Signs(400, "the request exceeds the available context size, try increasing it"),
            Signs(400, "this model's maximum context length is 4096 tokens"),
            Signs(400, "prompt is too long: 210000 tokens > 200000 maximum"),
            Signs(500, "exceed_context_size_error the request exceeds the available context size"),
            Signs(500, "input (3000 tokens) is too large to process. increase the physical batch size"),
            Signs(500, "context shift is disabled"),
            Signs(400, "this model's maximum prompt length is 131072 but the request contains 140000 tokens."),
            Signs(400, "invalid 'messages[0].content': string too long"),
            Signs(422, "input validation error: `inputs` must have less than 1024 tokens. given: 2000"),
        ),
    ),
    Row("413", Outcome.ITEM_REFUSED, TOO_LONG, frozenset({413}), examples=(Signs(413),)),
    Row(
        "400 that speaks of the key",
        Outcome.ENDPOINT_REFUSED,
        "no-permission",
        frozenset({400}),
        _KEY,
        advice="check its apiKey: it is wrong, too old, or may not use this model",
        examples=(
            Signs(400, "api key not valid. please pass a valid api key."),
            Signs(400, "authentication error, litellm virtual key expected."),
        ),
    ),
    Row(
        "400 or 422 that does not know the model",
        Outcome.ENDPOINT_REFUSED,
        "not-there",
        frozenset({400, 422}),
        _MODEL,
        advice="check its url and model: this address does not serve them",
        examples=(Signs(400, "invalid model name passed in model=m"), Signs(400, "m is not a valid model id")),
    ),
    Row(
        "400 that tells of the server's own trouble",
        Outcome.OUTAGE,
        "outage",
        frozenset({400}),
        _UPSTREAM,
        examples=(Signs(400, "the model has crashed without additional information"),),
    ),
    Row(
        "any other 400 or 422",
        Outcome.ITEM_REFUSED,
        "request-refused",
        _ITEM,
        examples=(Signs(400, "bad request"), Signs(422, "unprocessable")),
    ),
    Row(
        "401, 403, 407, 498",
        Outcome.ENDPOINT_REFUSED,
        "no-permission",
        frozenset({401, 403, 407, 498}),
        advice="check its apiKey: it is wrong, too old, or may not use this model",
        examples=(Signs(401, "invalid api key"), Signs(403, "forbidden"), Signs(498, "token expired")),
    ),
    Row(
        "404, 405, 410",
        Outcome.ENDPOINT_REFUSED,
        "not-there",
        frozenset({404, 405, 410}),
        advice="check its url and model: this address does not serve them",
        examples=(Signs(404, "the model `m` does not exist"), Signs(405), Signs(410)),
    ),
    Row(
        "a redirect",
        Outcome.ENDPOINT_REFUSED,
        "moved",
        frozenset(range(300, 400)),
        advice="it has moved: prompt and key go to no other address than the spec's, so write the new one as url",
        examples=(Signs(301), Signs(307), Signs(308)),
    ),
    Row(
        "421, 424, 499 (gateways say them of their own trouble)",
        Outcome.OUTAGE,
        "outage",
        frozenset({421, 424, 499}),
        examples=(Signs(421), Signs(424), Signs(499)),
    ),
    Row(
        "any other 4xx, 501, 505",
        Outcome.ENDPOINT_REFUSED,
        "refused",
        _REFUSALS | {501, 505},
        advice="it cannot do what it is asked for: check url, model and the server's own log",
        examples=(Signs(418), Signs(423, "locked"), Signs(451), Signs(415), Signs(501), Signs(505)),
    ),
    Row(
        "any other 5xx",
        Outcome.OUTAGE,
        "outage",
        frozenset(range(500, 600)),
        examples=(
            Signs(500, "internal error"),
            Signs(500, "moderation service unavailable"),
            Signs(502),
            Signs(504),
            Signs(520),
        ),
    ),
    Row(
        "a stream of events",
        Outcome.ENDPOINT_REFUSED,
        "streams",
        words=r"^text/event-stream$",
        broken=True,
        advice="it streams though it is not asked to: switch that off in the gateway, or name another url",
        examples=(Signs(200, "text/event-stream", broken=True),),
    ),
    Row(
        "a time-out, a broken connection, a 200 that holds an error, no choice or nothing readable (an error with a "
        "status inside a 200 is read by that status)",
        Outcome.OUTAGE,
        "outage",
        broken=True,
        examples=(Signs(200, "upstream failed", broken=True), Signs(0, broken=True)),
    ),
    Row(
        "a choice that ended by `content_filter` or another filter's word",
        Outcome.ITEM_FILTERED,
        "filtered",
        finish=_FILTERS,
        examples=(Signs(finish="content_filter"), Signs(finish="safety")),
    ),
    Row(
        "a choice that ended by `stop`, `tool_calls`, or without a reason and with text",
        Outcome.ANSWER,
        "stop",
        frozenset({200}),
        finish=STOPPED,
        examples=(Signs(finish="stop"), Signs(finish="tool_calls"), Signs(finish="eos")),
    ),
    Row(
        "a choice that ended by `length`, or that the server broke off since it went round in a circle: an answer "
        "that is never right; counted as `window` where the server cut it before `max_tokens`",
        Outcome.ANSWER,
        "length",
        frozenset({200}),
        finish=CUT,
        examples=(Signs(finish="length"), Signs(finish="max_tokens"), Signs(finish="repetition")),
    ),
    Row(
        "a choice that ended in any other way, such as `abort` or `error`, or empty and without a reason",
        Outcome.OUTAGE,
        "outage",
        examples=(Signs(finish="abort"), Signs(finish="error"), Signs(finish=""), Signs(206)),
    ),
)


@functools.lru_cache(1024)
def decide(seen: Signs) -> Row:
    """The row of a response: the first that fits; the last one fits everything."""
    return next(row for row in TABLE if row.fits(seen))
