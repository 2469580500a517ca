"""Command lines and configuration files of everything that runs on the node: text only, nothing is started here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.layout import (
    API_SERVICE_ADDRESS,
    CLUSTER_DOMAIN,
    CONTAINERD_SOCKET,
    NODE_ADDRESS,
    NODE_NAME,
    PAUSE_IMAGE,
    POD_RANGE,
    SERVICE_RANGE,
    SERVICE_ROUTE,
    Layout,
)
from cluster.pki import Pki

API_URL = f"https://{NODE_ADDRESS}:6443"
API_SANS = (
    *(NODE_ADDRESS, API_SERVICE_ADDRESS, "127.0.0.1", "localhost"),
    *("kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{CLUSTER_DOMAIN}"),
)


def issue_certificates(pki: Pki) -> None:
    """A pair per component; names and groups are those that Kubernetes' built-in roles are bound to."""
    pki.issue("apiserver", "kube-apiserver", sans=API_SANS)
    pki.issue("kubelet-client", "kube-apiserver-kubelet-client", "system:masters")
    pki.issue("admin", "admin", "system:masters")
    # one admin identity for all controllers: with a service account each, the first pod could start 5 s later
    pki.issue("kcm", "system:kube-controller-manager", "system:masters")
    pki.issue("scheduler", "system:kube-scheduler")
    pki.issue("proxy", "system:kube-proxy")
    pki.issue("coredns", "coredns")
    pki.issue("node", f"system:node:{NODE_NAME}", "system:nodes", sans=(NODE_ADDRESS, NODE_NAME))


def containerd_config(layout: Layout, binaries: Mapping[str, Path]) -> str:
    """containerd 2.x (version 3) TOML.

    `restrict_oom_score_adj` is required where CAP_SYS_RESOURCE is missing (a VM or container may lack it): lowering the
    score is refused there and every sandbox would die. Folders outside our own are all redirected or switched off.
    """
    return f"""version = 3
root = "{layout.containerd}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{layout.run}/opt"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  enable_selinux = false
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{binaries["bridge"].parent}"]
    conf_dir = "{layout.run}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "{binaries["runc"]}"
"""


def cni_config() -> dict[str, Any]:
    """Bridge network whose pods have routes to pods and services only: there is no way out."""
    ipam = {
        "type": "host-local",
        "dataDir": "/run/cni-ipam",
        "ranges": [[{"subnet": POD_RANGE}]],
        "routes": [{"dst": POD_RANGE}, {"dst": SERVICE_ROUTE}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "isDefaultGateway": False,
        "ipMasq": False,
        "hairpinMode": True,
        "mtu": 1500,
        "ipam": ipam,
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    return {"cniVersion": "1.0.0", "name": "flywheel", "plugins": [bridge, portmap]}


def kubelet_config(layout: Layout, pki: Pki, cgroup_version: int) -> dict[str, Any]:
    """KubeletConfiguration. Eviction starts at 1 % free disk and images are never collected: loading them is dear."""
    config: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": "/",
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki.cert("ca"))},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki.cert("node")),
        "tlsPrivateKeyFile": str(pki.key("node")),
        "clusterDNS": [NODE_ADDRESS],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": str(layout.run / "resolv.conf"),
        "address": NODE_ADDRESS,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "oomScoreAdj": 0,  # may not be lowered without CAP_SYS_RESOURCE
        "maxPods": 60,
        "nodeStatusUpdateFrequency": "4s",
        "syncFrequency": "10s",
        "podLogsDir": str(layout.run / "pods"),
        "volumePluginDir": str(layout.run / "volume-plugins"),
    }
    if cgroup_version == 1:
        config["failCgroupV1"] = False  # kubelet 1.35 and later refuse v1 unless told
    return config


def proxy_config(layout: Layout) -> dict[str, Any]:
    """KubeProxyConfiguration: nftables mode, the machine's conntrack limits left as they are."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": POD_RANGE,
        "hostnameOverride": NODE_NAME,
        "clientConnection": {"kubeconfig": str(layout.run / "proxy.kubeconfig")},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "oomScoreAdj": 0,
        "bindAddress": NODE_ADDRESS,
    }


def corefile(layout: Layout) -> str:
    """CoreDNS serves the cluster's names on the bridge address; other names have no upstream (SERVFAIL)."""
    return f""".:53 {{
  bind {NODE_ADDRESS}
  errors
  kubernetes {CLUSTER_DOMAIN} in-addr.arpa {{
    kubeconfig {layout.run}/coredns.kubeconfig
    pods insecure
    ttl 5
  }}
  cache 5
}}
"""


def _etcd(layout: Layout) -> list[str]:
    return [
        f"--data-dir={layout.run / 'etcd'}",
        "--listen-client-urls=http://127.0.0.1:2379",  # the node's own loopback
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",  # does not outlive the node
        "--log-level=warn",
    ]


def _apiserver(pki: Pki) -> list[str]:
    return [
        "--etcd-servers=http://127.0.0.1:2379",
        "--secure-port=6443",
        f"--bind-address={NODE_ADDRESS}",
        f"--advertise-address={NODE_ADDRESS}",
        f"--tls-cert-file={pki.cert('apiserver')}",
        f"--tls-private-key-file={pki.key('apiserver')}",
        f"--client-ca-file={pki.cert('ca')}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--service-account-key-file={pki.key('sa')}",
        f"--service-account-signing-key-file={pki.key('sa')}",
        f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",  # the node's name is in no DNS
        f"--kubelet-client-certificate={pki.cert('kubelet-client')}",
        f"--kubelet-client-key={pki.key('kubelet-client')}",
        f"--kubelet-certificate-authority={pki.cert('ca')}",
        "--max-requests-inflight=200",
        "--max-mutating-requests-inflight=100",
    ]


def commands(layout: Layout, pki: Pki, binaries: Mapping[str, Path]) -> dict[str, tuple[int, list[str]]]:
    """Component -> (stage, argv). Stage 0 starts at once, stage 1 when the API server and containerd answer."""
    run = layout.run
    return {
        "etcd": (0, [str(binaries["etcd"]), *_etcd(layout)]),
        "containerd": (0, [str(binaries["containerd"]), "--config", str(run / "containerd.toml")]),
        "kube-apiserver": (0, [str(binaries["kube-apiserver"]), *_apiserver(pki)]),
        "kube-controller-manager": (
            1,
            [
                str(binaries["kube-controller-manager"]),
                f"--kubeconfig={run / 'kcm.kubeconfig'}",
                f"--service-account-private-key-file={pki.key('sa')}",
                f"--root-ca-file={pki.cert('ca')}",
                "--leader-elect=false",
            ],
        ),
        "kube-scheduler": (
            1,
            [str(binaries["kube-scheduler"]), f"--kubeconfig={run / 'scheduler.kubeconfig'}", "--leader-elect=false"],
        ),
        "kubelet": (
            1,
            [
                str(binaries["kubelet"]),
                f"--config={run / 'kubelet.json'}",
                f"--kubeconfig={run / 'node.kubeconfig'}",
                f"--hostname-override={NODE_NAME}",
                f"--node-ip={NODE_ADDRESS}",
                f"--root-dir={run / 'kubelet'}",
            ],
        ),
        "kube-proxy": (1, [str(binaries["kube-proxy"]), f"--config={run / 'proxy.json'}"]),
        "coredns": (1, [str(binaries["coredns"]), "-conf", str(run / "Corefile")]),
    }


def write_configs(layout: Layout, pki: Pki, binaries: Mapping[str, Path], cgroup_version: int) -> None:
    """Write every configuration file except kubeconfigs into the run folder."""
    run = layout.run
    (run / "cni").mkdir(parents=True)
    (run / "containerd.toml").write_text(containerd_config(layout, binaries))
    (run / "cni" / "10-flywheel.conflist").write_text(json.dumps(cni_config()))
    (run / "kubelet.json").write_text(json.dumps(kubelet_config(layout, pki, cgroup_version), indent=1))
    (run / "proxy.json").write_text(json.dumps(proxy_config(layout), indent=1))
    (run / "Corefile").write_text(corefile(layout))
    (run / "hosts").write_text(f"127.0.0.1 localhost\n{NODE_ADDRESS} {NODE_NAME}\n")
    (run / "resolv.conf").write_text(f"nameserver {NODE_ADDRESS}\n")
