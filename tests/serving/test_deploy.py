"""The deploy kit, as far as it runs without a virtual machine: image, unit, proxy, and the page
behind it in a real browser.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml
from playwright.sync_api import expect, sync_playwright

from serving.middleware.security_headers import HEADERS
from serving.settings import Settings, reference
from tests.conftest import FEW_PHOTOS, GALLERY, PATIENCE, ROOT
from tests.support.dockerfile import (
    Stage,
    allowed,
    confined,
    follow,
    instructions,
    make_read_only,
)
from tests.support.server import (
    BROWSER_FLAGS,
    TEMPORARY,
    free_port,
    nginx,
    running,
    serving,
    settle,
    tab,
    until,
)
from tests.ui.test_browser import UPLOADER

DEPLOY = ROOT / "deploy"
NAME = "demo.example.org"


# -- image -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image() -> Iterator[Stage]:
    """The image's files, of a gallery of few photos, made by following the Dockerfile."""
    with tempfile.TemporaryDirectory() as folder:
        context, made = Path(folder) / "context", Path(folder) / "made"
        made.mkdir()
        tracked = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split("\0")
        for file in filter(None, tracked):
            if not file.startswith("gallery/photos/") or Path(file).name in FEW_PHOTOS:
                (context / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / file, context / file)
        (context / "secret.env").write_text("KEY=1")
        # The packages that are installed here already stand for those that pip would fetch.
        stage = follow(context, made, ready=str(Path(np.__file__).parent.parent))
        make_read_only(stage.root)
        yield stage
        for path in stage.root.rglob("*"):
            if path.is_dir():
                path.chmod(0o755)


def test_the_image_holds_what_is_served_and_nothing_else(image):
    files = {str(path.relative_to(image.path(""))) for path in image.path("").rglob("*")}
    assert {"app.py", "model/weights/gem-resnet101.onnx", "gallery/photos/wine.jpg"} <= files
    assert {"stores/gallery/CURRENT", "stores/efficientnet-lite2/CURRENT"} <= files
    rooms = {file.partition("/")[0] for file in files}
    assert not rooms & {"tests", "evaluation", "export", "datasets", "secret.env", ".git"}
    assert {file for file in files if file.startswith("docs/")} == {"docs/results.json"}
    assert not any("__pycache__" in file for file in files if not file.startswith("stores"))


def test_the_image_serves_without_a_right_to_write(image, tmp_path):
    """As its user, with every file read-only, no home, and no right but those of file modes."""
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", image.user)
    port = str(free_port())
    program = image.root / "opt/venv/bin" / image.command[0]
    environment = image.environ() | {
        "STREAMLIT_SERVER_ADDRESS": "127.0.0.1",
        "STREAMLIT_SERVER_PORT": port,
    }
    url = f"http://127.0.0.1:{port}"
    log = tmp_path / "log"
    with log.open("w") as stderr:
        command = confined([str(program), *image.command[1:]])
        options = {"cwd": image.path(""), "env": environment, "stderr": stderr}
        with running(command, f"{url}/healthz", **options) as process:
            status = Path(f"/proc/{process.pid}/status").read_text()
            assert re.search(r"CapEff:\s+0+\n", status)
            health = [word.replace("8501", port) for word in image.health]
            health[0] = str(image.root / "opt/venv/bin" / health[0])
            until(lambda: subprocess.run(health).returncode == 0)

            def photos() -> list[int]:
                ready = httpx.get(f"{url}/readyz", timeout=PATIENCE).json()
                return [one["photos"] for one in ready.get("galleries", [])]

            # Ready is who has opened the first gallery; the others follow.
            until(lambda: photos() == [len(FEW_PHOTOS)] * 2)
            photo = (GALLERY / "colosseum.jpg").read_bytes()
            answer = httpx.post(
                f"{url}/api/v1/search", files={"photo": photo}, timeout=PATIENCE
            ).json()
            files = [hit["file"] for hit in answer["hits"][:2]]
            assert files == ["colosseum.jpg", "colosseum-2.jpg"]
            view = httpx.get(url + answer["hits"][0]["view"], timeout=PATIENCE)
            assert view.headers["cache-control"].endswith("immutable"), "originals are inside"
    for line in log.read_text().splitlines():
        assert json.loads(line)["level"] != "error", line


@pytest.mark.parametrize(
    "file, goes_in",
    [
        ("app.py", True),
        ("serving/settings.py", True),
        ("matching/verification.py", True),
        ("serving/__pycache__/settings.cpython-311.pyc", False),
        ("gallery/photos/wine.jpg", True),
        ("model/weights/gem-resnet101.onnx", True),
        ("model/network.py", False),
        (".git/config", False),
        (".env", False),
        ("tests/conftest.py", False),
    ],
)
def test_what_goes_into_the_image(file, goes_in):
    assert allowed(file, (DEPLOY / "Dockerfile.dockerignore").read_text()) == goes_in


def test_compose_confines_both_services():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for service in compose["services"].values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["mem_limit"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    app, proxy = compose["services"]["app"], compose["services"]["proxy"]
    assert app["networks"] == ["inside"] and compose["networks"]["inside"]["internal"]
    assert "ports" not in app and set(proxy["networks"]) == {"inside", "outside"}
    subnet = compose["networks"]["inside"]["ipam"]["config"][0]["subnet"]
    limits = Settings(trusted_proxies=app["environment"]["GEM_TRUSTED_PROXIES"])
    assert limits.trusted_proxies == subnet
    # The proxies' bounds on bodies follow the server's.
    caddy, nginx = (DEPLOY / "Caddyfile").read_text(), (DEPLOY / "nginx.conf").read_text()
    for size in (limits.upload_mb + 1, limits.upload_mb * limits.query_photos + 1):
        assert f"max_size {size}MiB" in caddy and f"client_max_body_size {size}m;" in nginx
    assert {name for name, _ in instructions((DEPLOY / "Dockerfile").read_text())} >= {
        "USER",
        "HEALTHCHECK",
    }


# -- unit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, program", [("same-thing", "streamlit"), ("same-thing-watch", "python")]
)
def test_the_units_are_sound_and_confined(tmp_path, name, program):
    unit = (DEPLOY / f"{name}.service").read_text()
    assert unit.count(f"/srv/same-thing/.venv/bin/{program}") == 1
    path = tmp_path / f"{name}.service"
    path.write_text(unit.replace(f"/srv/same-thing/.venv/bin/{program}", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0 and "same-thing" not in done.stderr, done.stderr
    subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=15", str(path)],
        stdout=subprocess.DEVNULL,
        check=True,
    )


# -- proxy -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def behind_nginx(gallery_path, tmp_path_factory) -> Iterator[tuple[str, str, Path]]:
    """The page behind deploy/nginx.conf: its address, the server's own, and a folder of logs."""
    folder = tmp_path_factory.mktemp("nginx")
    port, plain = free_port(), free_port()
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        "-keyout privkey.pem -out fullchain.pem".split(),
        cwd=folder,
        capture_output=True,
        check=True,
    )
    settings = {"GEM_TRUSTED_PROXIES": "127.0.0.1", "GEM_HOSTS": NAME}
    with serving(gallery_path, log=folder / "server.log", **settings) as server:
        site = (DEPLOY / "nginx.conf").read_text()
        for ours, here in {
            "127.0.0.1:8501": server.removeprefix("http://"),
            "    listen [::]:80 default_server;\n": "",
            "    listen [::]:443 ssl;\n": "",
            "listen 80 default_server": f"listen 127.0.0.1:{plain} default_server",
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            f"/etc/letsencrypt/live/{NAME}": str(folder),
            "/var/cache/nginx": str(folder),
            "/var/log/nginx": str(folder),
            # The browser says the port as well, which is not the usual one here.
            "proxy_set_header Host $host;": "proxy_set_header Host $http_host;",
        }.items():
            assert ours in site
            site = site.replace(ours, here)
        url = f"https://localhost:{port}"
        with nginx(folder, site, f"{url}/healthz"):
            yield url, server, folder


def test_a_visit_through_the_proxy(behind_nginx):
    """Upload, results, evidence; nothing that the page does is against its own policy."""
    url, _, folder = behind_nginx
    path = shutil.which("chromium") or shutil.which("google-chrome")
    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_FLAGS)
        page = tab(browser, ignore_https_errors=True)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(url)
        page.locator(UPLOADER).set_input_files(
            {
                "name": "my-holiday.jpg",
                "mimeType": "image/jpeg",
                "buffer": (GALLERY / "tour-eiffel.jpg").read_bytes(),
            }
        )
        hit = page.get_by_role("button", name="Open Eiffel tower", exact=True)
        expect(hit).to_be_visible()
        settle(page)
        photo = hit.locator("img")
        assert photo.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
        hit.click()
        lines = page.get_by_role("dialog").locator("svg g")
        expect(lines.first).to_be_attached()
        src = photo.get_attribute("src")
        browser.close()
    assert not [text for text in said if "Content Security Policy" in text or "Error" in text], said
    thumbnail = f"{url}/{src.lstrip('/')}" if not src.startswith("http") else src
    with httpx.Client(verify=False, timeout=PATIENCE) as client:
        answer = client.get(thumbnail)
    assert answer.headers["x-cache"] == "HIT" and answer.headers["x-content-type-options"]
    assert "max-age=31536000" in answer.headers["cache-control"]
    for name in ("server.log", "same-thing.log"):
        text = (folder / name).read_text()
        assert "127.0.0.1" not in text and "holiday" not in text and "tour-eiffel" not in text
        assert all(json.loads(line) for line in text.splitlines())
    rooms = {json.loads(line)["room"] for line in (folder / "same-thing.log").open()}
    assert {"page", "static", "upload", "photo"} <= rooms
    left = [path for kind in TEMPORARY for path in (folder / kind).rglob("*") if path.is_file()]
    assert left == [], "no photo was written to a file"


def test_what_the_proxy_answers_for(behind_nginx):
    url, server, _ = behind_nginx
    with httpx.Client(verify=False, timeout=PATIENCE) as client:
        answer = client.get(url)
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert answer.headers["strict-transport-security"]
        for path in ("metrics", "readyz", "_stcore/metrics", "_stcore/agent/openapi.json"):
            assert client.get(f"{url}/{path}").status_code == 404
        assert client.post(f"{url}/?x", content=bytes(2**17)).status_code == 413
        large = client.post(f"{url}/api/v1/search", content=bytes(50 * 2**20))
        assert large.status_code == 413
        # Who a visitor is, the proxy alone says: the page's quotas count its word.
        wrong = client.get(url, headers={"Host": "evil.example"})
        assert wrong.status_code == 421 and wrong.json()["detail"].endswith("name.")
        with ThreadPoolExecutor(16) as callers:
            calls = [callers.submit(client.get, f"{url}/api/v1/openapi.json") for _ in range(200)]
        found = {
            (call.result().status_code, call.result().headers["content-type"]) for call in calls
        }
        assert found == {(200, "application/json"), (429, "text/html")}, "the proxy's own refusal"
    assert httpx.get(f"{server}/metrics", timeout=PATIENCE).status_code == 200, (
        "operators ask the server itself"
    )


# -- documentation ---------------------------------------------------------------------------------


def test_the_reference_of_settings_is_current():
    """After a change: python -m serving, between the two marks of docs/hosting.md."""
    text = (ROOT / "docs" / "hosting.md").read_text()
    shown = text.partition("<!-- settings -->\n")[2].partition("<!-- /settings -->")[0]
    assert shown.strip() == reference().strip()
