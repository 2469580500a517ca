"""Reasons of conditions that may need a person: what happened, and what to do. docs/troubleshooting.md is made so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flywheel_api.conditions import Reason


@dataclass(frozen=True)
class Told:
    """One reason, in plain words (Markdown)."""

    happened: str
    do: str


@dataclass(frozen=True)
class Chapter:
    """Reasons that come at the same time of an object's life."""

    title: str
    reasons: Mapping[Reason, Told]
    text: str = ""


CHAPTERS = (
    Chapter(
        "Before anything starts (Preflight)",
        {
            Reason.INVALID_SPEC: Told(
                "The API server accepted the object, but the operator cannot act on it; the message names "
                "the field. Typical: an unknown `training.preset`, a `podTemplate` field that the chart's "
                "allow-list (`config.podTemplate`) forbids, an object written under an older CRD.",
                "Inputs of a round are fixed once applied: delete it and apply a corrected one.",
            ),
            Reason.SECRET_NOT_FOUND: Told(
                "The Secret of `store.secretName` or of an endpoint's `apiKey` is not in the round's namespace.",
                "`kubectl -n <namespace> get secret <name>`; make it (`examples/store-secret.yaml`). "
                "Secrets of other namespaces are never read.",
            ),
            Reason.SECRET_KEY_MISSING: Told(
                "The Secret is there but lacks keys; the message lists them.",
                "A store Secret needs `endpoint` and `bucket`, and `accessKey` with `secretKey` unless pods have an "
                "identity of their own ([store.md](store.md#without-keys)): then neither. The operator looks with "
                "its own ServiceAccount (`serviceAccount.annotations` of the chart), pods with theirs.",
            ),
            Reason.SECRET_KEY_INVALID: Told(
                "A key of the Secret holds what cannot be used; the message names the key and says what "
                "is wrong, never the value. Typical: an `endpoint` with a path, one that redirects "
                "elsewhere, a `region` in which the bucket is not, a `prefix` with empty parts or `..`, a "
                "`caBundle` that is no certificate in PEM form, a line break in the middle of a value.",
                "Correct that key: a Secret that was changed is read again within 15 s.",
            ),
            Reason.SECRET_NOT_ALLOWED: Told(
                "A round or an RLJob would send a key (an endpoint's `apiKey`, the token of a hub, the key of a "
                "tracker) to a host that the Secret does not name.",
                "Whoever owns the Secret allows it, by the `kubectl annotate` that the message says "
                "([security.md](security.md)); it goes on by itself then.",
            ),
            Reason.STORE_UNREACHABLE: Told(
                "No answer from the S3 endpoint; the message says why, as far as it can be told: the name "
                "does not resolve; nobody listens; no route or no connection (`networkPolicy.store` in "
                "the chart's values needs the server's port); TLS to a port without, or the other way "
                "round; a certificate of an authority that is not in `caBundle`, for another name, or out "
                "of date.",
                "The endpoint must be reachable from the operator's pod and from job pods, so it cannot "
                "be `localhost`. Try it by the way that our pods go: `kubectl -n <namespace> apply -f "
                "examples/checks/store.yaml`, then `kubectl -n <namespace> logs -f pod/store-check`.",
            ),
            Reason.STORE_BUSY: Told(
                "The server answers and asks for patience: too many requests, restarting, an error of its "
                "own, or answers that are no S3's (the page of a proxy).",
                "Everything is tried again; look at the server if it stays.",
            ),
            Reason.STORE_FULL: Told(
                "The server's disks are full, or the bucket's quota is used up.",
                "Free space or raise the quota: writes go on by themselves. Training goes on meanwhile "
                "and keeps its checkpoints on the node's disk.",
            ),
            Reason.STORE_DENIED: Told(
                "The server answered and refused; the message names the operation and the action that the "
                "keys' policy needs ([store.md](store.md) prints a policy that is enough). Keys that have "
                "expired, and a node whose clock is off by more than 10 minutes, are said in so many "
                "words.",
                "A Secret that was changed is read again within 15 s, and by the next pods.",
            ),
            Reason.STORE_REFUSED: Told(
                "The server answered with an error that Flywheel has no plan for; the message holds its "
                "code. Often a rule of the bucket: objects that must be encrypted in a certain way, or "
                "that nobody may write.",
                "Change the rule for the prefix that Flywheel writes below, or give it a bucket of its own.",
            ),
            Reason.STORE_NOT_CONDITIONAL: Told(
                "The server ignored `If-None-Match: *` on a PUT, let several of eight writers create one "
                "key at once, or counts a deleted key as taken; the message says which. Every commit of "
                "Flywheel depends on it: without it two attempts could both win.",
                "Use a server that enforces it: AWS S3, a current SeaweedFS, Ceph RGW, MinIO, versitygw. "
                "Gateways and caches in between sometimes drop the header; several front ends over one "
                "disk need a lock that they share.",
            ),
            Reason.BUCKET_NOT_FOUND: Told(
                "The bucket does not exist.",
                "Flywheel never makes buckets: make it, with the versioning and lifecycle rules you want.",
            ),
            Reason.KUBERAY_NOT_INSTALLED: Told(
                "The cluster does not serve `ray.io/v1`.",
                "Install KubeRay 1.6 or newer ([install.md](install.md)); the round goes on within seconds.",
            ),
            Reason.BASE_ROUND_NOT_FOUND: Told(
                "`base.round`, or a pool's `round`, names a round that is not in this namespace, and the store has no "
                "promotion of it. (A round that was promoted may be gone: its promotion is enough.)",
                "Apply it, or name a model instead. Who waits for it goes on by itself.",
            ),
            Reason.BASE_ROUND_NOT_PROMOTED: Told(
                "The round that `base.round`, or a pool's `round`, names ended Held or Failed: it has no model.",
                "Name an earlier round or a model: in a new round, or in the pool. The message says what that round "
                "trained from; nothing falls back to it unasked. In a new round on a held one, `base.onHeld: "
                "UseItsBase` asks for it.",
            ),
            Reason.MODEL_NOT_FOUND: Told(
                "No manifest under the given digest or S3 prefix.",
                "A model in S3 is a committed checkpoint: `<prefix>/manifest.json` beside the files' "
                "blobs ([store.md](store.md)); a round also takes a plain directory of Hugging Face files, with "
                "`config.json` and safetensors, or `hf://` ([round.md](round.md#where-the-base-comes-from)). Check the "
                "bucket: a digest is looked up in the store of this namespace's Secret. For `hf://`: the name, the "
                "revision, and for a private model the token.",
            ),
            Reason.DATA_NOT_FOUND: Told(
                "A dataset manifest or Parquet file does not exist in the store.",
                "Check the digest or the `s3://` address.",
            ),
            Reason.VOLUME_NOT_FOUND: Told(
                "A PersistentVolumeClaim that `export.claim` or a `podTemplate` names is not in the namespace, is not "
                "bound, or its volume is lost. One that is `Pending` until a pod mounts it is taken.",
                "`kubectl -n <namespace> get pvc`; make it. Rounds on several nodes at once need an access mode that "
                "allows it (`ReadWriteMany`).",
            ),
            Reason.NO_NODE_FITS: Told(
                "The cluster's nodes, as they are, cannot hold what would be made: none offers the GPUs, has the "
                "labels of `nodeSelector`, is tolerated, has the driver that the image needs, or is large enough, "
                "or all together have too few GPUs for what runs at once (pools and trainings of a round take "
                "turns). What is free now does not matter, nor a cordoned node. The condition `NodesFit` has the "
                "same words; it is `Unknown` where the operator may not list nodes (`rbac.nodes` of the chart).",
                "Do what the message says. Where nodes are made as pods want them (Karpenter, a cloud's "
                "autoscaler), this is a warning in `NodesFit`, and pods wait for their nodes; "
                "`config.nodesOnDemand: true` of the chart says so where the nodes' labels do not.",
            ),
            Reason.UNKNOWN_OVERRIDE: Told(
                "`overrides` has a key that the installed verl does not know; the message lists the "
                "nearest ones. Nothing was started.",
                "Write the key as verl does, or leave it out, and apply the object again.",
            ),
            Reason.DOES_NOT_FIT: Told(
                "A training or a pool of the round needs more memory than its card, the Ray head or a pod that "
                "trains has, or more disk than that pod may use; the message names the part that is most of it, "
                "and what to change.",
                "Nothing was started, and the round goes on once it fits: the chart's values and "
                "`podTemplate` can be changed; for another algorithm or overrides apply a new round. "
                "`make estimate ROUND=...` prints the same by part ([recipes.md](recipes.md)). The card "
                "is known by the node selector `nvidia.com/gpu.product`; without it only what fits no "
                "card is refused. A model by `hf://` whose shape is not known is not checked: "
                "`status.estimate.note` says so.",
            ),
            Reason.BUDGET_ZERO: Told(
                "A limit in `budget` is zero, so the first attempt would already exceed it.",
                "Raise it: `budget` can be changed while a round exists (`kubectl edit fwr <name>`).",
            ),
        },
        "No pod with a GPU exists while one of these holds.",
    ),
    Chapter(
        "While it runs",
        {
            Reason.WAITING: Told(
                "Something outside is not there yet; the message says what (a base round that still runs, "
                "a pool that starts). The wall clock of the budget runs on.",
                "Nothing, unless what it waits for cannot come.",
            ),
            Reason.QUEUED: Told(
                "Somebody holds a child back: Kueue, a person, a scheduling gate, or a quota that is "
                "full, be it of pods or of the objects themselves (`count/jobs.batch`, "
                "`count/rayjobs.ray.io`); the message says who or what. It keeps its place, is not "
                "replaced, and no clock but the wall clock runs meanwhile; start-up and stall limits "
                "begin anew when it is let go.",
                "Where a quota is full, it is asked again every 15 s: nothing needs to be done once the "
                "quota is raised or others have ended. After five minutes a round lets the pools go that "
                "would only wait with it; they come back when it goes on.",
            ),
            Reason.CAPACITY: Told(
                "The scheduler finds no node; the message is the scheduler's.",
                "It goes on by itself when a node is there: check the autoscaler, and that nodes with "
                "that many GPUs exist at all.",
            ),
            Reason.SUSPENDED: Told(
                "`spec.suspend` is true. Work stopped at a stage boundary and GPUs are free.",
                'Go on: `kubectl patch fwr <name> --type=merge -p \'{"spec":{"suspend":false}}\'`.',
            ),
            Reason.ENDPOINT_UNAVAILABLE: Told(
                "A role's endpoint stopped answering. Requests were retried, then the stage's pods ended "
                "(exit code 75) and the stage will start again with growing pauses. Finished items are "
                "kept: only the missing ones run again.",
                "Bring the endpoint back; check its quota if it answers 429. An outage never becomes a reward.",
            ),
            Reason.POD_REFUSED: Told(
                "The API server refuses a child's pods: Pod Security, a quota that wants limits to be "
                "set, a LimitRange, or a policy engine. The message is the API server's; the child keeps "
                "its place meanwhile.",
                "All Flywheel pods meet Pod Security `restricted`; a refusal usually comes from "
                "`podTemplate`, a missing ServiceAccount (`serviceAccount.jobs` of the chart must exist "
                "in the namespace), or a policy that wants labels (`commonLabels` of the chart).",
            ),
            Reason.API_REFUSES: Told(
                "The API server has not taken a child for half a minute or longer, and may well take it "
                "later: a webhook that is down (500), a kind that is not served any more (404), too many "
                "requests (429), a quota that was counted twice at once (409). The message has its words. "
                "Everything else of the object goes on, and it is asked again. An attempt whose child is "
                "not taken within its start-up time ends as `Capacity/NotCreated`, which uses up no "
                "retry; the wall clock bounds the waiting. A RolloutPool of your own says so as `Failed` "
                "and goes on asking. Where it is the pods of a child that are not taken, the child keeps "
                "its place.",
                "Mend what the message names; nothing of Flywheel needs to be restarted.",
            ),
            Reason.PODS_STUCK: Told(
                "Pods that were told to end five minutes ago or longer are still there, and what comes next waits for "
                "the GPUs that they hold: mostly their node is gone, so that nobody confirms their end. Flywheel does "
                "not force them away, because a node that is only cut off may still run them. The wall clock bounds "
                "the waiting.",
                "If the node is gone for good, `kubectl delete node <node>`, or `kubectl delete pod <pod> --force "
                "--grace-period=0`; it goes on by itself then.",
            ),
            Reason.FORBIDDEN: Told(
                "The operator lacks a right. The message is the API server's and names the verb and the "
                "resource. Usual causes: the namespace is not in the chart's `namespaces`; the Secret is "
                "not in `rbac.secretNames`.",
                "Change the values and `helm upgrade`.",
            ),
            Reason.STATUS_UNREADABLE: Told(
                "The object's status was written by another release of Flywheel and holds words that this "
                "one does not know. Nothing is touched: no child is made or deleted.",
                "Run the operator of that release, or delete the object and apply it again; a round takes "
                "over the results that are in the store already.",
            ),
            Reason.NAME_CONFLICT: Told(
                "An object with the name of a child exists and is not ours. Names of children contain a "
                "hash of the owner's uid, so this means that somebody copied one (a restored backup, a "
                "second cluster's objects).",
                "Delete the object named in the message; a pool's Service has the pool's own name, so a "
                "Service of that name conflicts as well.",
            ),
            Reason.MANIFEST_INVALID: Told(
                "A stage committed a manifest that does not hold: its bytes do not match their digest, it "
                "is of another stage or content, or files are missing or have other sizes. The stage is "
                "not taken as done and is tried again.",
                "If it comes back, the store loses or changes data: check its logs, and lifecycle rules "
                "that delete below the prefix.",
            ),
            Reason.BUDGET_EXHAUSTED: Told(
                "GPU-hours, wall clock or a role's tokens are used up; everything of the round was "
                "stopped, and what was committed stays.",
                "A finished round stays finished: apply a new round with a larger `budget` under another "
                "name. It takes over the stages that were done, and its training goes on from the last "
                "checkpoint; only what it spends itself counts.",
            ),
            Reason.RETRIES_EXHAUSTED: Told(
                "A stage or an RLJob failed of itself more often than its limit.",
                "`status.attempts` has the causes, and in `log` where in the store each attempt's output is, which "
                "stays when the pods are gone ([training.md](training.md#looking-at-it)); its end is in the report "
                "(`status.report`). Causes: `App` is the "
                "program (out of memory shows here as well: look for OOMKilled), `Validation` is the "
                "input, `Stalled` means no progress for `stallAfter`. They count however far each attempt got: a "
                "program that fails again needs a person, and each new start costs its GPUs. What is committed is "
                "kept: apply the object again under another name, with a larger `retries.limit` where each failure "
                "may be borne.",
            ),
            Reason.NO_PROGRESS: Told(
                "Five attempts in a row ended by something that uses up no retry (`Infra`, `Preempted`), "
                "and none committed a new step or finished a new item: a sixth would cost as much and "
                "bring as little.",
                "`status.attempts` has their causes; look at the nodes, the network and the image first. "
                "If they were preempted sooner than a checkpoint is written, lower "
                "`checkpoint.everySteps`. Of these, attempts that get further are never counted out, and waiting "
                "for nodes or for a model's endpoint is bounded by the wall clock only. What is committed "
                "is kept: apply the object again under another name.",
            ),
            Reason.FAILED: Told(
                "The round or job is over without a result; the message and the last entry of "
                "`status.attempts` say why.",
                "Committed data and checkpoints stay in the store. Apply it again under another name with "
                "the cause removed (a memory limit, say): each stage with the same inputs is taken over "
                "(`status.stages[].reusedFrom`), and a training goes on from its last checkpoint.",
            ),
            Reason.HELD: Told(
                "Not a fault: the candidate did not pass a gate, or lost something that its base or the "
                "campaign's champion could. The condition `Promoted` and the report name it: the suite, "
                "and the outcome, family or level in it. The model is in the store, but nothing is "
                "promoted.",
                "Look at `status.scores`, then decide: another round, other data, more items per stratum "
                'where a gain was not shown, or another gate ([method.md](method.md), "Evaluation and '
                'gate"). Its data is kept: a round of equal data with another `training` takes its stages over, and an '
                "RLJob can train on its data sets ([training.md](training.md#data-of-an-rljob)). A later round may go "
                "on from it with `base.onHeld: UseItsBase` ([round.md](round.md#after-a-round-that-was-held)).",
            ),
            Reason.COLLAPSE_SUSPECTED: Told(
                "A training's curve looks like a collapse; the condition `TrainingHealthy` says by what: the "
                "spread of rewards within groups, their mean, the gradient, entropy, form, length or variety of "
                "answers, two of them at once beyond chance, or an expected outcome that is lost beside one. By "
                "default the training is stopped and the best checkpoint from before the alarm published "
                "(`onCollapse: Warn` only tells).",
                "Most often the learning rate is too high for so few prompts a step, or hardly a group is solved "
                'sometimes ([training.md](training.md), "Brakes"): lower `algorithm.learningRate`, or give other data.',
            ),
            Reason.NOT_TRACKED: Told(
                "The experiment tracker of `tracking` does not answer or refuses; the condition `Tracked` has its "
                "words. Training goes on: what the tracker missed is sent when it answers, and TensorBoard's files in "
                "the store have every step ([training.md](training.md#looking-at-it)).",
                "Look at the address, the key of the Secret (it is read at the start of an attempt), and whether pods "
                "that train may reach it (`networkPolicy.endpoints`).",
            ),
            Reason.EXPORT_FAILED: Told(
                "The round promoted its model, and the model could not be written where `export` says; the condition "
                "`Exported` says why. The verdict stands, and the model is in the store.",
                "Mend what is said, and apply the same round under another name: it takes all results over and "
                "exports anew. A directory that was written in part is gone on with.",
            ),
            Reason.SPEC_CHANGED: Told(
                "The spec says something else than when the object finished (another order of the same "
                "entries, or what a new release fills in, is no change).",
                "A finished object is never run again: apply a new one under another name, and put the "
                "old spec back so that your Git and the cluster agree.",
            ),
        },
    ),
)
"""In the order of the page."""

QUIET = (
    Reason.STARTING,
    Reason.RUNNING,
    Reason.SUCCEEDED,
    Reason.PENDING,
    Reason.PASSED,
    Reason.AVAILABLE,
    Reason.NOT_STALLED,
    Reason.PROMOTED,
)
"""Reasons that need nobody, and have no section."""
