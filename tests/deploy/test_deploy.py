"""The image, the chart, the kustomize base and the examples of deploy/. `make check-deploy` installs what they need."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ilab_chat_gateway.settings import read as read_gateway
from ilab_chat_service.settings import Settings, read

pytest.importorskip("helm_python", reason="make check-deploy installs it")

import helm_python
import kubernetes_validate

sys.path.insert(0, str(Path(__file__).parents[2]))

from tools import image_requirements

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm"
BIN = Path(sys.executable).parent

#: Kinds of the Prometheus Operator, for which there is no schema here.
UNKNOWN_KINDS = {"ServiceMonitor", "PrometheusRule"}

POSTGRES = {"secret": {"name": "ilab-chat"}}
SQLITE = {"store": "sqlite"}
TLS = {"tls": {"secretName": "tls", "clientCertificates": True}}
EVERYTHING = {
    **POSTGRES,
    **TLS,
    "image": {"repository": "registry.example/ilab-chat", "digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "registry"}],
    "settings": {"ILAB_CHAT_WORKERS": 2, "ILAB_CHAT_SPIFFE_IDS": "spiffe://example.org/ns/shop/*"},
    "modelsToml": '[models.fast]\nmodel = "gpt-4o-mini"\n',
    "auth": {"mode": "spiffe"},
    "metrics": {"serviceMonitor": {"enabled": True}, "rules": {"enabled": True, "labels": {"role": "alerts"}}},
    "hpa": {"enabled": True, "waitingCalls": 4},
    "networkPolicy": {"enabled": True, "callers": [{"namespaceSelector": {"matchLabels": {"name": "shop"}}}]},
    "podAnnotations": {"linkerd.io/inject": "enabled"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "chat", "operator": "Exists"}],
}
GATEWAY = {
    "enabled": True,
    "replicas": 1,
    "hosts": ["chat.example"],
    "tlsSecretName": "gateway-tls",
    "settings": {"ILAB_CHAT_GATEWAY_PLAYGROUND": "true"},
}
VALUES = {
    "postgres": POSTGRES,
    "sqlite": SQLITE,
    "sqlite with tls and a key": {**SQLITE, **TLS, **POSTGRES},
    "tokens": {**POSTGRES, "auth": {"mode": "tokens", "tokensSecretName": "tokens"}},
    "without metrics": {**SQLITE, "metrics": {"enabled": False}},
    "public": {**POSTGRES, "tls": {"secretName": "tls"}, "service": {"type": "LoadBalancer", "port": 443}},
    "gateway": {**POSTGRES, "gateway": {"enabled": True}},
    "gateway of everything": {**EVERYTHING, "gateway": GATEWAY},
    "everything": EVERYTHING,
}


def rendered(values: dict[str, Any], name: str = "ilab-chat") -> list[dict[str, Any]]:
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(chart.merge_values(values))
        texts = chart.render(values, name=name, namespace="chat")
    return [
        each
        for template in sorted(texts)
        if template.endswith(".yaml")
        for each in yaml.safe_load_all(texts[template])
        if each
    ]


def kinds(objects: list[dict[str, Any]]) -> set[str]:
    return {each["kind"] for each in objects}


def pod_of(objects: list[dict[str, Any]], name: str = "ilab-chat") -> dict[str, Any]:
    [workload] = [
        each
        for each in objects
        if each["kind"] in {"Deployment", "StatefulSet"}
        and each["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] == name
    ]
    pod: dict[str, Any] = workload["spec"]["template"]["spec"]
    return pod


def environment_of(objects: list[dict[str, Any]], name: str = "ilab-chat") -> dict[str, str]:
    [container] = pod_of(objects, name)["containers"]
    names = [each["name"] for each in container["env"]]
    assert len(names) == len(set(names)), "a setting is given twice"
    return {each["name"]: each["value"] for each in container["env"]}


def settings_of(objects: list[dict[str, Any]], folder: Path) -> Settings:
    """Return the settings that the server reads in the Pod, with one line in each mounted secret."""
    environ = environment_of(objects)
    mounts = [each["mountPath"] for each in pod_of(objects)["containers"][0]["volumeMounts"]]
    for name, value in environ.items():
        if name.endswith("_FILE") and value:
            assert any(Path(value).is_relative_to(mount) for mount in mounts), f"{name} is in no volume"
        if name in {"ILAB_MEMORY_URL_FILE", "OPENAI_API_KEY_FILE", "ILAB_CHAT_LOG_KEY_FILE"}:
            file = folder / name
            file.write_text("postgresql://ilab@db/ilab\n" if "URL" in name else "secret\n")
            environ[name] = str(file)
    return read(environ)


def run(*command: str | Path) -> str:
    """Run a tool of the environment and return its output."""
    found = shutil.which(command[0], path=f"{BIN}:{os.environ['PATH']}")
    assert found, f"{command[0]} is not installed"
    ended = subprocess.run([found, *command[1:]], capture_output=True, text=True, timeout=100, check=False, cwd=ROOT)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


each_values = pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)


@each_values
def test_chart_renders_valid_objects(values: dict[str, Any]) -> None:
    report = helm_python.lint(str(CHART), values, strict=True)
    assert [each for each in report["messages"] if each["severity"] > 1] == []
    for name in ("ilab-chat", "a" * 53):
        for each in rendered(values, name):
            if each["kind"] not in UNKNOWN_KINDS:
                kubernetes_validate.validate(each, "1.37", strict=True)


@each_values
def test_server_accepts_the_settings_of_the_chart(values: dict[str, Any], tmp_path: Path) -> None:
    settings = settings_of(rendered(values), tmp_path)
    assert settings.address == "0.0.0.0:50051"
    assert bool(settings.memory_url) == (values.get("store") != "sqlite")


@pytest.mark.parametrize("values", [VALUES["gateway"], VALUES["gateway of everything"]])
def test_gateway_accepts_the_settings_of_the_chart(values: dict[str, Any]) -> None:
    objects = rendered(values)
    assert pod_of(objects, "ilab-chat-gateway")["containers"][0]["command"] == gateway_command()
    settings = read_gateway(environment_of(objects, "ilab-chat-gateway"))
    assert settings.target == "dns:///ilab-chat:50051"
    assert settings.is_encrypted == ("tls" in values)
    assert settings.allowed_hosts >= {"localhost", "ilab-chat-gateway", *values["gateway"].get("hosts", [])}
    assert {"/livez", "/readyz"} == {
        probe["httpGet"]["path"]
        for name, probe in pod_of(objects, "ilab-chat-gateway")["containers"][0].items()
        if name.endswith("Probe")
    }
    [service] = [each for each in objects if each["kind"] == "Service" and each["metadata"]["name"] == "ilab-chat"]
    assert service["spec"]["selector"]["app.kubernetes.io/name"] == "ilab-chat", "calls never go to the gateway"


def test_gateway_needs_to_know_which_server_to_trust() -> None:
    with pytest.raises(Exception, match=r"gateway\.tlsSecretName is required"):
        rendered({**EVERYTHING, "gateway": {"enabled": True}})


@each_values
def test_grace_is_longer_than_the_shutdown(values: dict[str, Any], tmp_path: Path) -> None:
    objects = rendered({**values, "shutdown": {"propagationSeconds": 7, "drainSeconds": 90}})
    settings = settings_of(objects, tmp_path)
    assert (settings.propagation_seconds, settings.drain_seconds) == (7, 90)
    # docs/operations.md: both settings plus 10.
    assert pod_of(objects)["terminationGracePeriodSeconds"] >= 7 + 90 + 10


@each_values
def test_pod_is_restricted(values: dict[str, Any]) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards, "restricted", with a read-only root."""
    pod = pod_of(rendered(values))
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod["automountServiceAccountToken"]
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize(("values", "kind"), [(POSTGRES, "grpc"), ({**POSTGRES, **TLS}, "httpGet")])
def test_probes_work_with_tls(values: dict[str, Any], kind: str) -> None:
    """The probes of Kubernetes speak gRPC without TLS only."""
    [container] = pod_of(rendered(values))["containers"]
    probes = [container[f"{name}Probe"] for name in ("startup", "liveness", "readiness")]
    assert all(kind in probe for probe in probes)
    if kind == "grpc":
        assert "service" not in probes[1]["grpc"], "a restart does not repair a memory"
        assert probes[2]["grpc"]["service"] == "ilab_chat.v1.ChatService"
    else:
        assert [probe["httpGet"]["path"] for probe in probes] == ["/readyz", "/livez", "/readyz"]
        assert {"name": "metrics", "containerPort": 9464} in container["ports"]


def test_sqlite_has_one_replica_with_a_volume_of_its_own() -> None:
    objects = rendered({**SQLITE, "replicas": 5})
    [workload] = [each for each in objects if each["kind"] == "StatefulSet"]
    assert workload["spec"]["replicas"] == 1
    [claim] = workload["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert environment_of(objects)["ILAB_MEMORY_DB_PATH"] == "/data/memory.db"
    assert "PodDisruptionBudget" not in kinds(objects), "it would block every eviction"


def test_service_is_headless_and_names_its_protocol() -> None:
    [service] = [each for each in rendered(POSTGRES) if each["kind"] == "Service"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["ports"][0]["appProtocol"] == "kubernetes.io/h2c"


def test_everything_is_rendered_on_request() -> None:
    assert kinds(rendered(EVERYTHING)) == {
        "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "PrometheusRule",
        "Service", "ServiceMonitor",
    }  # fmt: skip
    [workload] = [each for each in rendered(EVERYTHING) if each["kind"] == "Deployment"]
    assert "replicas" not in workload["spec"], "they belong to the autoscaler"
    [rules] = [each for each in rendered(EVERYTHING) if each["kind"] == "PrometheusRule"]
    assert rules["spec"] == yaml.safe_load((DEPLOY / "observability/alerts.yml").read_text())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "secret.name is required"),
        ({**SQLITE, "hpa": {"enabled": True}}, "hpa.enabled needs store postgres"),
        ({**SQLITE, **TLS, "metrics": {"enabled": False}}, "metrics.enabled must be true"),
        ({**POSTGRES, "auth": {"mode": "spiffe"}}, "clientCertificates must be true"),
        ({**POSTGRES, "auth": {"mode": "tokens"}}, "tokensSecretName is required"),
        ({**POSTGRES, "store": "mysql"}, "store"),
        ({**POSTGRES, "replica": 3}, "replica"),
        ({**POSTGRES, "settings": {"OPENAI_API_KEY": "sk-1"}}, "OPENAI_API_KEY"),
        ({**POSTGRES, "settings": {"ILAB_CHAT_ADDRESS": "0.0.0.0:1"}}, "ILAB_CHAT_ADDRESS"),
        ({**POSTGRES, "image": {"repository": "r", "digest": "latest"}}, "digest"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(helm_python.HelmError, match=said):
        rendered(values)


def test_kustomize_base_is_made_from_the_chart_and_builds() -> None:
    run(BIN / "python", ROOT / "tools/kustomize_base.py", "--check")
    built = list(yaml.safe_load_all(run("kubectl", "kustomize", "deploy/kustomize/base")))
    assert kinds(built) == {"Deployment", "PodDisruptionBudget", "Service"}
    for each in built:
        kubernetes_validate.validate(each, "1.37", strict=True)


def test_chart_has_the_rules_and_the_version_of_the_project() -> None:
    assert (CHART / "files/alerts.yml").read_bytes() == (DEPLOY / "observability/alerts.yml").read_bytes()
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert f'version = "{chart["appVersion"]}"' in (ROOT / "service/pyproject.toml").read_text()


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def gateway_command() -> list[str]:
    """Return the image's entry point with the gateway instead of the server."""
    [entry] = re.findall(r"^ENTRYPOINT (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    *blocking, server = json.loads(entry)
    assert server == "ilab-chat-server"
    return [*blocking, "ilab-chat-gateway"]


def test_compose_starts_a_gateway_with_settings_that_it_accepts() -> None:
    gateway = compose()["services"]["gateway"]
    settings = read_gateway(gateway["environment"])
    assert settings.target == "dns:///server:50051"
    assert gateway["entrypoint"] == gateway_command()
    assert gateway["ports"] == ["127.0.0.1:8080:8080"]


def test_compose_starts_a_server_with_settings_that_it_accepts(tmp_path: Path) -> None:
    server = compose()["services"]["server"]
    environ = dict(server["environment"])
    environ["ILAB_CHAT_ADDRESS"] = "0.0.0.0:50051"  # of the image
    for name in ("ILAB_MEMORY_URL_FILE", "OPENAI_API_KEY_FILE"):
        assert environ[name].removeprefix("/run/secrets/") in server["secrets"]
        (tmp_path / name).write_text("postgresql://ilab@postgres/ilab" if "URL" in name else "key")
        environ[name] = str(tmp_path / name)
    settings = read(environ)
    grace = int(server["stop_grace_period"].removesuffix("s"))
    assert grace >= settings.propagation_seconds + settings.drain_seconds + 10
    assert server["read_only"]


def test_image_needs_no_root_and_writes_only_to_its_volume() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert "USER 10001:10001" in lines
    assert "VOLUME /data" in lines
    assert sum(line.startswith("FROM ${BASE}") for line in lines) == 2


def test_image_copies_only_what_its_context_contains() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [path for line in lines if re.match(r"COPY (?!--from)", line) for path in line.split()[1:-1]]
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert "gateway" in copied
    assert set(copied) == sent
    assert all((ROOT / path).exists() for path in sent)


def canonical(name: str) -> str:
    return re.sub("[-_.]+", "-", name.lower())


@pytest.mark.parametrize(
    ("file", "needed"),
    [
        (image_requirements.RUNTIME, image_requirements.runtime()),
        (image_requirements.BUILD, image_requirements.build()),
    ],
)
def test_image_requirements_have_hashes_and_the_versions_of_constraints(file: Path, needed: list[str]) -> None:
    """If this fails, run `make image-requirements`."""
    pins = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    versions = {canonical(name): version for name, version in pins}
    text = file.read_text()
    entries = re.findall(r"^([\w.-]+)==(\S+) \\$((?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+)$", text, re.MULTILINE)
    assert len(entries) == text.count("==") > 5
    found = {canonical(name): version for name, version, _ in entries}
    assert found == {name: versions[name] for name in found}
    assert {canonical(re.split(r"[^\w.-]", each)[0]) for each in needed} <= found.keys()
    assert "//" not in text, "it names no index"


def test_linters_find_nothing() -> None:
    run("hadolint", "Dockerfile")
    run("yamllint", "--strict", "deploy")


def mesh_objects() -> Iterator[dict[str, Any]]:
    for path in sorted((DEPLOY / "mesh").glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


def test_mesh_examples_select_the_pods_of_the_chart() -> None:
    labels = next(each for each in rendered(POSTGRES) if each["kind"] == "Deployment")["spec"]["template"]["metadata"][
        "labels"
    ]
    selectors = []
    for each in mesh_objects():
        spec = each["spec"]
        if each["kind"] == "Service":
            kubernetes_validate.validate(each, "1.37", strict=True)
            selectors.append(spec["selector"])
        elif selector := spec.get("selector") or spec.get("podSelector"):
            selectors.append(selector["matchLabels"])
    assert len(selectors) == 5
    assert all(selector.items() <= labels.items() for selector in selectors)


def test_envoy_accepts_its_example() -> None:
    for name in ("envoy.yaml", "envoy-grpc-web.yaml"):
        run("envoy", "--mode", "validate", "-c", DEPLOY / name, "--log-level", "error")


#: Starts the server in the image, waits until it is healthy, and stops it.
SMOKE = """
ilab-chat-server --version
ilab-chat-gateway --version
export ILAB_CHAT_ADDRESS=127.0.0.1:50051 OPENAI_BASE_URL=http://127.0.0.1:1/v1
ilab-chat-server &
until ilab-chat health 2> /tmp/health; do kill -0 $! || exit 1; sleep 0.2; done
kill -TERM $!
wait $!
echo "ended with $?"
ilab-memory check /data/memory.db
touch /root-is-writable && exit 1
exit 0
"""


def builder() -> str | None:
    """Return docker or buildah, if it can build from the base of the Dockerfile, or from the image that BASE names."""
    base = os.environ.get("BASE", "python:3.13-slim-bookworm")
    for name, asked in (("docker", ["docker", "version"]), ("buildah", ["buildah", "from", "--name=tried", base])):
        if shutil.which(name) and subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            if name == "buildah":
                run("buildah", "rm", "tried")
            return name
    return None


@pytest.mark.timeout(1800)
def test_image_serves_with_a_read_only_root() -> None:
    """In a container, buildah needs BUILDAH_ISOLATION=chroot, and without a registry a BASE of this machine."""
    name = builder()
    if name is None:
        pytest.skip("no docker or buildah that has the base image")
    subprocess.run(
        ["make", "image", f"BUILDER={name}", "IMAGE=localhost/ilab-chat:test"], cwd=ROOT, check=True, timeout=1500
    )
    if name == "docker":
        runs = [
            "docker",
            "run",
            "--rm",
            "--read-only",
            "--tmpfs=/tmp",
            "--cap-drop=ALL",
            "--entrypoint=sh",
            "localhost/ilab-chat:test",
        ]
    else:
        container = run("buildah", "from", "--pull-never", "localhost/ilab-chat:test").strip()
        runs = ["buildah", "run", container, "--", "sh"]
    try:
        said = run(*runs, "-c", SMOKE)
    finally:
        if name == "buildah":
            run("buildah", "rm", container)
    assert re.search(
        r"^ilab-chat-server .*\nilab-chat-gateway .*\nSERVING\nended with 0\n.*: sound$", said, re.MULTILINE
    )
