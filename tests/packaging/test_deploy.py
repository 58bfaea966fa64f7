"""What the files of deploy/ name exists: commands, options, settings, ports, pages and metrics."""

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from tests.packaging.helm_subset import manifests, render, values

from cellkin.cli.main import cellkin
from cellkin.server.metrics import Metrics
from cellkin.server.settings import PREFIX, ServerSettings, check_environment

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
GRPC, PAGES, USER, CACHE = 50051, 9464, 10001, "/var/cache/cellkin"
ALL_ON: dict[str, Any] = {
    "secrets__tokens": "tokens", "secrets__tls": "tls", "indexer__job__enabled": True,
    "explorer__enabled": True, "explorer__token": "token",
}  # fmt: skip
OF_CLIENTS = {"CELLKIN_TOKEN", "CELLKIN_TLS_CA"}
# Of the store's library, MinIO and Grafana.
FOREIGN = re.compile(r"AWS_|MINIO_ROOT_|GF_SECURITY_|NVIDIA_|XDG_CACHE_HOME|PYTHON|PATH$")


def text_of(name: str) -> str:
    return (DEPLOY / name).read_text()


def check_command(words: list[str]) -> None:
    """Parse a command with its options as the product does, without running it."""
    command: click.Command = cellkin
    context = click.Context(command, info_name="cellkin")
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0]) if words else None
        assert found is not None, words
        command, words = found, words[1:]
        context = click.Context(command, context, command.name)
    # The server takes its settings from the environment, the store among them.
    given = words if "--store" in words or command.name != "serve" else [*words, "--store", "s"]
    parser = command.make_parser(context)
    options, _, _ = parser.parse_args(args=list(given))
    missing = [p.name for p in command.params if p.required and p.name not in options]
    assert not missing or "--help" in given, (missing, words)


def containers(chart: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for each in chart:
        spec = each.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            pod = spec["template"]["spec"]
            found += [(each["kind"], container) for container in pod["containers"]]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_setting_in_the_environment_exists(path: Path) -> None:
    if path.suffix == ".md":
        pytest.skip("prose")
    text = path.read_text()
    names = set(re.findall(r"\bCELLKIN_\w+", text))
    check_environment(names)
    assert all(name.startswith(PREFIX) for name in names - OF_CLIENTS)
    assigned = re.findall(r"^\s*(?:ENV |Environment=)?([A-Z][A-Z0-9_]{2,})=", text, re.M)
    if path.suffix in (".service", ".example") or path.name == "Containerfile":
        of_build = {"PYTHON", "VARIANT", "EXTRAS", "CLIENT_EXTRAS"}
        assert all(n in of_build or n in names or FOREIGN.match(n) for n in assigned), assigned


def test_the_examples_of_settings_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("compose.env.example", "systemd/server.env.example"):
        lines = [li for li in text_of(name).splitlines() if li.startswith(PREFIX)]
        given: dict[str, Any] = dict(
            line.removeprefix(PREFIX).lower().split("=", 1) for line in lines
        )
        listen: dict[str, Any] = {"listen": f"0.0.0.0:{GRPC}"} if "plaintext" in given else {}
        ServerSettings(**(listen | given))


def test_the_image_installs_and_runs_what_exists() -> None:
    text = text_of("Containerfile")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)$", text, re.M)
    (of_client,) = re.findall(r"^ARG CLIENT_EXTRAS=(\S+)$", text, re.M)
    client = tomllib.loads((ROOT / "clients/pyproject.toml").read_text())["project"]
    assert {*of_client.split(",")} <= set(client["optional-dependencies"])
    chosen = re.findall(r"faiss=(\w+)", text)
    assert {*extras.split(","), *chosen} <= set(project["optional-dependencies"])
    assert f"-t cellkin:{project['version']} ." in text
    copied = [words for li in text.splitlines() if li.startswith("COPY ") and "--from" not in li
              for words in li.split()[1:-1]]  # fmt: skip
    assert copied
    assert all((ROOT / each).exists() for each in copied)
    assert f"USER {USER}\n" in text
    assert f"EXPOSE {GRPC} {PAGES}\n" in text
    assert f"VOLUME {CACHE}\n" in text
    (command,) = re.findall(r"^CMD (\[.*\])$", text, re.M)
    check_command(json.loads(command))
    for name, port in (("LISTEN", GRPC), ("METRICS", PAGES)):
        assert f"{PREFIX}{name}=0.0.0.0:{port}" in text
    assert f"http://127.0.0.1:{PAGES}/readyz" in text


def test_the_composition() -> None:
    parts = yaml.safe_load(text_of("compose.yaml"))
    services = parts["services"]
    for name in ("server", "explorer", "indexer"):
        check_command(services[name]["command"])
        assert services[name]["read_only"]
        assert services[name]["volumes"] == [f"cache:{CACHE}"]
        assert (ROOT / services[name]["build"]["dockerfile"]).exists()
    assert services["server"]["ports"] == [f"127.0.0.1:{GRPC}:{GRPC}"]
    explorer = services["explorer"]
    words = explorer["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--server"] == f"server:{GRPC}"
    port = options["--listen"].removeprefix("0.0.0.0:")
    assert explorer["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert options["--origin"] == f"localhost:{port}"
    assert f"http://127.0.0.1:{port}/healthz" in explorer["healthcheck"]["test"][-1]
    mounted = [v for each in services.values() for v in each.get("volumes", ())]
    for volume in mounted:
        source = volume.split(":")[0]
        assert (DEPLOY / source).exists() if source.startswith(".") else source in parts["volumes"]
    (provider,) = yaml.safe_load(text_of("grafana/provisioning/dashboards/cellkin.yaml"))[
        "providers"
    ]
    boards = f"./grafana/dashboards:{provider['options']['path']}:ro"
    assert boards in mounted
    for words in re.findall(r"run --rm indexer (.+)$", text_of("compose.yaml"), re.M):
        check_command([*shlex.split(words.replace("--help", "")), "--help"])


def test_what_the_metrics_are_called() -> None:
    registered = Metrics()
    registered.watch_tokens(lambda: {"a": 1.0})
    known = {"up"}
    for family in registered.registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        known |= {family.name + end for end in suffixes.get(family.type, [""])}
    adapter = text_of("prometheus/adapter.yml")
    (mean,) = re.findall(r"name: \{as: (\w+)\}", adapter)
    used = set[str]()
    for path in FILES:
        if path.suffix in (".yml", ".yaml", ".json") and path.name != "compose.yaml":
            used |= set(re.findall(r"\b(?:cellkin|process)_[a-z0-9_]+\b", path.read_text()))
    assert len(used) > 15
    assert used - known == {mean}
    hpa = next(m for m in manifests(values()) if m["kind"] == "HorizontalPodAutoscaler")
    assert hpa["spec"]["metrics"][0]["pods"]["metric"]["name"] == mean


def test_every_metric_of_the_server_is_on_the_dashboard() -> None:
    board = json.loads(text_of("grafana/dashboards/cellkin.json"))
    shown = " ".join(t["expr"] for panel in board["panels"] for t in panel["targets"])
    for family in Metrics().registry.collect():
        if family.name.startswith("cellkin_"):
            assert family.name in shown
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_prometheus_finds_the_servers_of_the_composition() -> None:
    (job,) = yaml.safe_load(text_of("prometheus/prometheus.yml"))["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert found["port"] == PAGES
    assert found["names"] == ["server"]
    assert "server" in yaml.safe_load(text_of("compose.yaml"))["services"]
    for rule in yaml.safe_load(text_of("prometheus/alerts.yml"))["groups"][0]["rules"]:
        assert rule.get("record") or (rule["annotations"]["summary"] and rule["labels"]["severity"])
        codes = re.findall(r'code="(\w+)"', rule["expr"])
        assert all(code in ("RESOURCE_EXHAUSTED", "INTERNAL") for code in codes)


@pytest.mark.parametrize("changes", [{}, ALL_ON], ids=["defaults", "all on"])
def test_the_chart(changes: dict[str, Any]) -> None:
    chart = manifests(values(**changes))
    kinds = [each["kind"] for each in chart]
    expected = {
        "Deployment", "Service", "ServiceAccount", "HorizontalPodAutoscaler", "PodDisruptionBudget",
        "NetworkPolicy", "CronJob", *(["Job"] if changes else []),
    }  # fmt: skip
    assert set(kinds) == expected
    for kind, container in containers(chart):
        check_command(container["args"])
        check_environment([each["name"] for each in container.get("env", ())])
        assert container["securityContext"]["readOnlyRootFilesystem"], kind
        assert any(mount["mountPath"] == CACHE for mount in container["volumeMounts"])
    pod = named(chart, "Deployment", "trial-server")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == USER
    grace_s = ServerSettings.model_fields["grace_s"].default
    assert pod["terminationGracePeriodSeconds"] > grace_s
    (server,) = pod["containers"]
    assert {each["containerPort"] for each in server["ports"]} == {GRPC, PAGES}
    probes = [server[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert [probe["path"] for probe in probes] == ["/readyz", "/readyz", "/healthz"]
    assert {probe["scheme"] for probe in probes} == {"HTTPS" if changes else "HTTP"}
    given = {each["name"]: each["value"] for each in server["env"]}
    settings: dict[str, Any] = {
        name.removeprefix(PREFIX).lower(): value for name, value in given.items()
    }
    if changes:
        assert not settings.get("plaintext")
        mounts = [mount["mountPath"] for mount in server["volumeMounts"]]
        for name in ("tokens", "tls_cert", "tls_key"):
            assert str(Path(settings[name]).parent) in mounts
    ServerSettings(**settings)
    policy = named(chart, "NetworkPolicy", "trial")
    assert [rule["ports"][0]["port"] for rule in policy["spec"]["ingress"]] == [GRPC, PAGES]


def test_the_explorer_of_the_chart() -> None:
    chart = manifests(values(**ALL_ON))
    pod = named(chart, "Deployment", "trial-explorer")["spec"]["template"]
    (explorer,) = pod["spec"]["containers"]
    words = explorer["args"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    # The server is reached by its service, whose policy lets the explorer in.
    name, _, port = options["--server"].partition(":")
    service = named(chart, "Service", name)["spec"]
    assert int(port) in [each["port"] for each in service["ports"]]
    policy = named(chart, "NetworkPolicy", "trial")["spec"]
    allowed = policy["ingress"][0]["from"][0]["podSelector"]["matchLabels"].items()
    assert allowed <= pod["metadata"]["labels"].items()
    # Browsers reach the port at which it listens, and probes ask a page that is no session.
    (pages,) = explorer["ports"]
    assert options["--listen"] == f"0.0.0.0:{pages['containerPort']}"
    of_pages = named(chart, "Service", "trial-explorer")["spec"]
    (browsers,) = named(chart, "NetworkPolicy", "trial-explorer")["spec"]["ingress"]
    assert browsers["ports"] == [{"port": pages["containerPort"]}]
    assert of_pages["ports"][0]["targetPort"] == pages["name"]
    assert of_pages["selector"].items() <= pod["metadata"]["labels"].items()
    for kind in ("startup", "readiness", "liveness"):
        assert explorer[f"{kind}Probe"]["httpGet"] == {"path": "/healthz", "port": pages["name"]}
    # Of the secret of TLS it gets the authority, and not the key.
    (authority,) = [each["value"] for each in explorer["env"]]
    (mount,) = [
        m for m in explorer["volumeMounts"] if Path(authority).parent == Path(m["mountPath"])
    ]
    (volume,) = [v for v in pod["spec"]["volumes"] if v["name"] == mount["name"]]
    assert [item["path"] for item in volume["secret"]["items"]] == [Path(authority).name]
    assert explorer["envFrom"] == [{"secretRef": {"name": "token"}}]
    assert not [each for each in manifests(values()) if "explorer" in each["metadata"]["name"]]


def named(chart: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [m for m in chart if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


def test_a_template_with_what_is_not_known_here_is_refused() -> None:
    with pytest.raises(ValueError, match="not known here"):
        render('{{ include "x" . }}', {})
    with pytest.raises(ValueError, match="without an end"):
        render("{{ if .a }}x", {"a": 1})
    assert render("a {{- if .x }}b{{ else }}c{{ end }}", {"x": 0}) == "ac"


def test_the_unit_of_systemd() -> None:
    text = text_of("systemd/cellkin.service")
    (command,) = re.findall(r"^ExecStart=(.+)$", text, re.M)
    program, *words = shlex.split(command)
    assert Path(program).name == "cellkin"
    check_command(words)
    (stop_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.M)
    assert int(stop_s) > ServerSettings.model_fields["grace_s"].default
    assert "/etc/cellkin/server.env" in text
    for directory in ("StateDirectory", "LogsDirectory", "CacheDirectory"):
        assert f"{directory}=cellkin" in text


def test_the_commands_of_the_guide_exist() -> None:
    text = (ROOT / "docs/operate.md").read_text()
    commands = re.findall(r"`cellkin ([^`]+)`", text)
    assert len(commands) > 8
    for words in map(shlex.split, commands):
        # Some are named without their arguments.
        check_command(words if len(words) > 3 else [*words, "--help"])
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
    alerts = set(re.findall(r"alert: (\w+)", text_of("prometheus/alerts.yml")))
    assert set(re.findall(r"`(Cellkin\w+)`", text)) == alerts
    for path in re.findall(r"`((?:deploy|benchmarks|tests)/[^`]+)`", text):
        assert (ROOT / path).exists() or path == "deploy/compose.env"
    metrics = {family.name for family in Metrics().registry.collect()}
    named = re.findall(r"`(cellkin_[a-z_]+)`", text)
    assert {name.removesuffix("_total") for name in named} <= metrics
