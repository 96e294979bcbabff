"""What can be known of the deployment without a Docker engine or a cluster.

In: the files under infra/. Their YAML is strict, every TAGSTREAM_* name in them is a setting
with an allowed value, what they refer to exists, and the dashboard asks for metrics that the
service really exports.
"""

import importlib
import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from infra.settings import PREFIX, SECRET, Settings, load
from infra.telemetry import COUNTERS, GAUGES, HISTOGRAMS

yaml: Any = importlib.import_module("yaml")  # published without types

ROOT = Path(__file__).parents[1]
INFRA = ROOT / "infra"
YAMLS = sorted(INFRA.rglob("*.yaml"))
DASHBOARD = INFRA / "grafana" / "tagstream.json"
DOCKERFILE = INFRA / "Dockerfile"
TEXTS = [*YAMLS, DOCKERFILE, DASHBOARD]
PROBED = {"/live", "/ready"}
SETTING = re.compile(r"\bTAGSTREAM_[A-Z][A-Z_]+\b")
COLLECTED = {"process_resident_memory_bytes", "process_cpu_seconds_total"}
"""What the Prometheus client says of every process."""

EXPORTED = """
from prometheus_client import generate_latest
from infra import telemetry
from infra.settings import Settings

told = telemetry.set_up(Settings(http_port=0))
for name in telemetry.COUNTERS:
    told.count(name)
for name in telemetry.HISTOGRAMS:
    told.time(name, 1.0)
for name in telemetry.GAUGES:
    told.observe(name, lambda: 1.0)
print(generate_latest().decode())
"""


def documents(file: Path) -> list[Any]:
    return list(yaml.safe_load_all(file.read_text("utf-8")))


def relative(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def seconds(duration: str) -> int:
    """Compose's "45s", "15m"."""
    return int(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


def twice(node: Any) -> list[str]:
    """Keys that a mapping names again: YAML's loaders take the last one in silence."""
    found = []
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        found += [key for key in keys if keys.count(key) > 1]
        found += itertools.chain.from_iterable(twice(value) for _, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        found += itertools.chain.from_iterable(twice(value) for value in node.value)
    return found


COMPOSE = documents(INFRA / "compose.yaml")[0]
SERVICES: dict[str, Any] = COMPOSE["services"]
MANIFESTS = {found["kind"]: found for found in documents(INFRA / "kubernetes" / "tagstream.yaml")}
POD = MANIFESTS["StatefulSet"]["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]
CONFIGURED: dict[str, str] = MANIFESTS["ConfigMap"]["data"]
REFERRED = {entry["name"]: entry["valueFrom"] for entry in CONTAINER["env"]}
LAYOUT: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
VARIABLES = LAYOUT["templating"]["list"]
CHARTS = [panel for panel in LAYOUT["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("file", YAMLS, ids=relative)
def test_yaml_is_strict(file: Path) -> None:
    text = file.read_text("utf-8")
    for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
        assert twice(node) == []
    assert "\t" not in text
    assert text.startswith("#"), "a file opens with what it is for"


@pytest.mark.parametrize("file", TEXTS, ids=relative)
def test_every_name_is_a_setting(file: Path) -> None:
    named = set(SETTING.findall(file.read_text("utf-8")))
    assert named <= {PREFIX + name.upper() for name in Settings.__struct_fields__} | {
        "TAGSTREAM_PORT"  # what Kubernetes would set: why service links are off
    }


class TestDockerfile:
    text = DOCKERFILE.read_text("utf-8")

    def test_copies_what_is_packaged_and_nothing_else(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
        packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        lines = re.findall(r"^COPY (?!--from)(.+) \S+$", self.text, re.MULTILINE)
        copied = set(itertools.chain.from_iterable(line.split() for line in lines))
        assert copied == {"pyproject.toml", project["project"]["readme"], *packages}
        assert all((ROOT / name).exists() for name in copied)
        assert "cpu" in project["project"]["optional-dependencies"]

    def test_runs_without_rights(self) -> None:
        final = self.text.rsplit("\nFROM ", 1)[1]
        assert re.search(r"^USER (\d+):\1$", final, re.MULTILINE)
        assert re.search(r"\bg\+\+ ", final)

    def test_its_settings_are_allowed(self) -> None:
        chosen = load(dict(re.findall(r"\b(TAGSTREAM_[A-Z_]+)=(\S+)", self.text)))
        assert f"VOLUME {chosen.model_cache}" in self.text
        assert f"EXPOSE {chosen.http_port}" in self.text


class TestCompose:
    @pytest.mark.parametrize("name", SERVICES)
    def test_what_a_service_refers_to_exists(self, name: str) -> None:
        service = SERVICES[name]
        needed = service.get("depends_on", {})
        for other in needed:
            profiles = set(service.get("profiles", [])) or {None}
            assert set(SERVICES[other].get("profiles", [])) <= profiles
            if isinstance(needed, dict) and needed[other]["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other]
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (INFRA / source).exists() if source[0] == "." else source in COMPOSE["volumes"]
        if "build" in service:
            assert (INFRA / service["build"]["context"]).resolve() == ROOT
            assert (ROOT / service["build"]["dockerfile"]).is_file()
        else:
            assert re.search(r":v?\d", service["image"]), "a version is named"

    @pytest.mark.parametrize("name", SERVICES)
    def test_only_this_machine_reaches_it(self, name: str) -> None:
        for port in SERVICES[name].get("ports", []):
            assert port.startswith("127.0.0.1:")

    @pytest.mark.parametrize("name", ["tagstream", "topics"])
    def test_settings_are_allowed(self, name: str) -> None:
        told = SERVICES[name]["environment"]
        assert all(isinstance(value, str) for value in told.values())
        chosen = load({key: re.sub(r"\$\{\w+:-(.*)\}", r"\1", told[key]) for key in told})
        assert chosen.kafka_bootstrap == "kafka:9092"

    def test_topics_are_made_before_anything_is_served(self) -> None:
        assert SERVICES["topics"]["depends_on"]["kafka"]["condition"] == "service_healthy"
        needed = SERVICES["tagstream"]["depends_on"]["topics"]["condition"]
        assert needed == "service_completed_successfully"

    def test_the_drain_ends_before_the_kill(self) -> None:
        chosen = load(SERVICES["tagstream"]["environment"] | {"TAGSTREAM_MODEL": "base"})
        grace = seconds(SERVICES["tagstream"]["stop_grace_period"])
        assert grace * 1_000 > chosen.shutdown_drain_ms + chosen.kafka_io_timeout_ms

    def test_prometheus_scrapes_the_service_where_it_listens(self) -> None:
        [job] = documents(INFRA / "prometheus.yaml")[0]["scrape_configs"]
        [found] = job["dns_sd_configs"]
        assert found["names"] == ["tagstream"]
        assert str(found["port"]) == SERVICES["tagstream"]["environment"]["TAGSTREAM_HTTP_PORT"]

    def test_traces_go_where_the_collector_listens(self) -> None:
        collector = documents(INFRA / "otel-collector.yaml")[0]
        port = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].split(":")[1]
        endpoint = SERVICES["tagstream"]["environment"]["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
        assert endpoint == f"http://collector:{port}/v1/traces"
        for pipeline in collector["service"]["pipelines"].values():
            for part in ("receivers", "processors", "exporters"):
                assert set(pipeline[part]) <= set(collector[part])


class TestKubernetes:
    def test_settings_are_allowed(self) -> None:
        assert all(isinstance(value, str) for value in CONFIGURED.values())
        assert load(CONFIGURED).kafka_security_protocol == "SASL_SSL"

    def test_secrets_are_only_referred_to(self) -> None:
        secret = {PREFIX + name.upper() for name in SECRET}
        assert not secret & set(CONFIGURED)
        for name in secret & set(REFERRED):
            assert set(REFERRED[name]) == {"secretKeyRef"}
        assert "Secret" not in MANIFESTS

    def test_each_pod_is_a_lasting_member(self) -> None:
        for name in ("TAGSTREAM_GROUP_INSTANCE_ID", "TAGSTREAM_WORKER"):
            source = REFERRED[name]
            assert source == {"fieldRef": {"fieldPath": "metadata.name"}}
        assert MANIFESTS["StatefulSet"]["spec"]["serviceName"] == "tagstream"

    def test_services_are_not_taken_for_settings(self) -> None:
        assert POD["spec"]["enableServiceLinks"] is False

    def test_the_drain_ends_before_the_kill(self) -> None:
        chosen = load(CONFIGURED)
        grace = POD["spec"]["terminationGracePeriodSeconds"]
        assert grace * 1_000 > chosen.shutdown_drain_ms + chosen.kafka_io_timeout_ms

    def test_probes(self) -> None:
        [port] = CONTAINER["ports"]
        assert str(port["containerPort"]) == CONFIGURED["TAGSTREAM_HTTP_PORT"]
        probes = {name: CONTAINER[f"{name}Probe"] for name in ("startup", "liveness", "readiness")}
        assert {probe["httpGet"]["path"] for probe in probes.values()} == PROBED
        assert all(probe["httpGet"]["port"] == port["name"] for probe in probes.values())
        assert probes["liveness"]["httpGet"]["path"] == "/live"
        assert probes["startup"]["periodSeconds"] * probes["startup"]["failureThreshold"] >= 600

    def test_labels_agree(self) -> None:
        labels = POD["metadata"]["labels"].items()
        for selector in (
            MANIFESTS["StatefulSet"]["spec"]["selector"]["matchLabels"],
            MANIFESTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
            MANIFESTS["Service"]["spec"]["selector"],
        ):
            assert selector.items() <= labels

    def test_runs_without_rights(self) -> None:
        assert POD["spec"]["securityContext"]["runAsNonRoot"] is True
        user = POD["spec"]["securityContext"]["runAsUser"]
        assert f"USER {user}:{user}\n" in DOCKERFILE.read_text("utf-8")
        assert CONTAINER["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }

    def test_what_is_mounted_exists(self) -> None:
        spec = MANIFESTS["StatefulSet"]["spec"]
        volumes = {volume["name"] for volume in POD["spec"]["volumes"]}
        volumes |= {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
        assert set(mounts) == volumes
        assert f"VOLUME {mounts['cache']}" in DOCKERFILE.read_text("utf-8")
        for name in ("TAGSTREAM_KAFKA_SSL_CA_FILE", "TAGSTREAM_REDIS_CA_FILE"):
            assert CONFIGURED[name].startswith(mounts["ca"] + "/")


class TestDashboard:
    def asked(self) -> set[str]:
        """The metrics that the panels and the variables name."""
        told = [target["expr"] for panel in CHARTS for target in panel["targets"]]
        told += [v.get("definition", "") for v in VARIABLES]
        return set(re.findall(r"\b(?:tagstream|process)_\w+", " ".join(told)))

    def test_every_metric_exists_and_is_shown(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", PREFIX))}
        answer = subprocess.run(
            [sys.executable, "-c", EXPORTED],
            capture_output=True, text=True, check=True, cwd=ROOT, env=environment, timeout=60,
        ).stdout  # fmt: skip
        exported = set(re.findall(r"^(tagstream_\w+)", answer, re.MULTILINE))
        assert self.asked() <= exported | COLLECTED
        for name in [*COUNTERS, *HISTOGRAMS, *GAUGES]:
            stem = name.replace(".", "_")
            assert any(metric.startswith(stem) for metric in self.asked()), f"{name} is not shown"

    def test_panels_have_their_place(self) -> None:
        taken: set[tuple[int, int]] = set()
        for panel in LAYOUT["panels"]:
            at = panel["gridPos"]
            cells = set(
                itertools.product(
                    range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
                )
            )
            assert at["x"] + at["w"] <= 24
            assert not cells & taken
            taken |= cells
        numbers = [panel["id"] for panel in LAYOUT["panels"]]
        assert len(numbers) == len(set(numbers))

    def test_panels_read_the_chosen_source(self) -> None:
        sources = {panel["datasource"]["uid"] for panel in CHARTS}
        assert sources == {"${source}"}
        [provisioned] = documents(
            INFRA / "grafana" / "provisioning" / "datasources" / "prometheus.yaml"
        )[0]["datasources"]
        [variable] = (v for v in VARIABLES if v["name"] == "source")
        assert variable["current"]["value"] == provisioned["uid"]
        assert variable["query"] == provisioned["type"]

    def test_expressions_are_balanced(self) -> None:
        for panel in CHARTS:
            for target in panel["targets"]:
                for opening, closing in ("()", "{}", "[]"):
                    assert target["expr"].count(opening) == target["expr"].count(closing)
